//! What a purchase opens afterwards, and what came with it: goods that are about an extension.

use anyhow::{Context, Result, ensure};
use farthing::core::extension::builder_code::{Attribution, Code};
use serde_json::{Value, json};

use super::checks::text;
use super::{Buyer, Shop};
use crate::{
    chain::{NETWORK, PAYEE},
    goods::Good,
    payer::Payer,
    peer::Answer,
    roles::{Client, Server},
    sale::Sale,
    service::{APP_CODE, BUYER_CODE, ISSUER, ISSUER_KEY_ID, PRICE_ATOMIC, SERVICE_CODE, WALLET_CODE},
};

/// Where servers tell what the last visitor signed.
const LAST_SIGN_IN: &str = "/last-sign-in";

impl Shop {
    /// Everything that the good promises beyond its purchase. None of it costs anything.
    pub(super) async fn afterwards(&self, sale: Sale, payer: &Payer, buyer: &Buyer<'_>, answer: &Answer) -> Result<()> {
        let before = self.standing(sale, payer).await?;
        match sale.good {
            Good::SignIn | Good::ContractSignIn => self.opens_again(sale, payer, buyer).await?,
            Good::Named => self.is_made_once(sale, payer, buyer, answer).await?,
            Good::Signed | Good::SignedJws => self.is_signed(sale, payer, answer)?,
            Good::Attributed => self.is_attributed(answer).await?,
            _ => ensure!(answer.statements.is_null(), "nobody signs anything here"),
        }
        ensure!(self.standing(sale, payer).await? == before, "more was charged");
        ensure!(self.overheard.settlements().is_empty(), "more was to be settled");
        Ok(())
    }

    /// The buyer comes again and signs in, which opens without a payment. What it signed opens nothing to who repeats it.
    async fn opens_again(&self, sale: Sale, payer: &Payer, buyer: &Buyer<'_>) -> Result<()> {
        let url = self.url(sale)?;
        let again = self.buy(buyer, payer, &url, None).await?;
        ensure!(again.status == 200 && again.settlement.is_none(), "it did not open again: {again:?}");
        let http = reqwest::Client::builder().no_proxy().build()?;
        let last = http.get(url.replace("/sign-in", LAST_SIGN_IN)).send().await?.json::<Value>().await?;
        let header = last.get("signIn").and_then(Value::as_str).context("it opened without a signature")?;
        let replayed = http.get(&url).header("SIGN-IN-WITH-X", header).send().await?;
        ensure!(replayed.status() == 402, "the signature opened it twice: {}", replayed.status());
        Ok(())
    }

    /// The server has the purchase's name. Ours answers the same to another payment under that name, charges nothing, and
    /// sells nothing else under it; theirs leave that to whoever uses them.
    async fn is_made_once(&self, sale: Sale, payer: &Payer, buyer: &Buyer<'_>, answer: &Answer) -> Result<()> {
        let id = format!("purchase-{}", payer.address());
        if !sale.by.server.is_ours() {
            ensure!(answer.body.get("id") == Some(&json!(id)), "the server has another name");
            return Ok(());
        }
        ensure!(answer.body.get("number").is_some_and(Value::is_u64), "the answer has no number");
        let url = self.url(sale)?;
        let again = self.buy(buyer, payer, &url, Some(&id)).await?;
        ensure!((again.status, &again.body) == (200, &answer.body), "another answer under the same name: {again:?}");
        let other = self.buy(buyer, payer, &format!("{url}-otherwise"), Some(&id)).await?;
        ensure!(other.status == 409, "something else under the same name: {other:?}");
        Ok(())
    }

    /// The client found offer and receipt well signed, and they say what is so.
    fn is_signed(&self, sale: Sale, payer: &Payer, answer: &Answer) -> Result<()> {
        let url = self.url(sale)?;
        let by = if sale.good == Good::SignedJws { ISSUER_KEY_ID.to_owned() } else { ISSUER.to_string() };
        let transaction = text(answer.settlement.as_ref().context("there is a settlement")?, "transaction");
        // The official server was told to name the transaction, and does not.
        let transaction = if sale.by.server == Server::Ts { "" } else { transaction };
        let (pay_to, amount, paid_by) = (PAYEE.to_string(), PRICE_ATOMIC.to_string(), payer.address().to_string());
        let offer = [("by", by.as_str()), ("resourceUrl", &url), ("scheme", "exact"), ("network", NETWORK), ("payTo", &pay_to)];
        let receipt = [("by", by.as_str()), ("resourceUrl", &url), ("network", NETWORK), ("payer", &paid_by)];
        let offer = offer.into_iter().chain([("amount", amount.as_str())]).map(|said| ("offer", said));
        let receipt = receipt.into_iter().chain([("transaction", transaction)]).map(|said| ("receipt", said));
        for (statement, (field, expected)) in offer.chain(receipt) {
            let said = answer.statements.get(statement).map(|statement| text(statement, field)).unwrap_or_default();
            // Letter case of accounts is a checksum.
            ensure!(said.eq_ignore_ascii_case(expected), "{statement}.{field}: expected {expected}, got {said}");
        }
        Ok(())
    }

    /// The transaction names everybody, by our decoder and by theirs.
    async fn is_attributed(&self, answer: &Answer) -> Result<()> {
        let transaction = text(answer.settlement.as_ref().context("there is a settlement")?, "transaction");
        let data = self.chain.data_of(transaction).await?;
        let ours = Attribution::at_end_of(&data).context("the transaction names nobody")?;
        let code = |code: Option<&Code>| code.map(|code| code.as_str().to_owned());
        let services: Vec<&str> = ours.services.iter().map(Code::as_str).collect();
        let ours = json!({"a": code(ours.app.as_ref()), "w": code(ours.wallet.as_ref()), "s": services});
        let question = json!({"data": alloy_primitives::hex::encode_prefixed(&data)});
        let theirs = self.peer(Client::Ts)?.asks("/attribution", &question).await?;
        let expected = json!({"a": APP_CODE, "w": WALLET_CODE, "s": [BUYER_CODE, SERVICE_CODE]});
        ensure!(ours == expected, "we read {ours}");
        ensure!(theirs == expected, "they read {theirs}");
        Ok(())
    }
}
