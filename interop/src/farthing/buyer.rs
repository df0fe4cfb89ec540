//! Farthing as the client.

use anyhow::Result;
use farthing::client::{Client, Error, Response};
use farthing::core::extension::offer_receipt::SignedBy;
use serde_json::{Value, json};

use super::plain_token;
use super::statements::Checker;
use crate::chain::NETWORK;
use crate::payer::Payer;
use crate::peer::Answer;
use crate::service::{ISSUER, ISSUER_KEY_ID};

/// A payer's client, which remembers what it has paid.
pub struct Buyer(Client);

impl Buyer {
    /// Buys as this payer, who can ask a node, through these services.
    pub fn new(payer: &Payer, rpc_url: &str, services: &[&str]) -> Result<Self> {
        let mut client = farthing::Client::builder().node(NETWORK, rpc_url)?.asset(plain_token()?).service_codes(services)?;
        if let Some(signer) = payer.signer() {
            client = client.signer(signer);
        }
        if let Some(wallet) = payer.contract_signer() {
            client = client.smart_wallet(wallet);
        }
        Ok(Self(client.build()?))
    }

    /// Buys once, under a name if there is one.
    pub async fn buys(&self, url: &str, id: Option<&str>) -> Result<Answer> {
        let request = self.0.get(url);
        let request = if let Some(id) = id { request.payment_id(id)? } else { request };
        let response = match request.send().await {
            Ok(response) => response,
            // A server that fails and does not say whether it settled may have settled: the client says just that.
            Err(Error::Unknown(unknown)) if unknown.status.is_some() => {
                let settlement = unknown.settlement.as_ref().map(serde_json::to_value).transpose()?;
                let status = unknown.status.unwrap_or_default();
                return Ok(Answer { status, body: Value::Null, settlement, refusal: None, statements: Value::Null });
            }
            Err(Error::Rejected(rejected)) => {
                let settlement = rejected.settlement.as_ref().map(serde_json::to_value).transpose()?;
                let refusal = rejected.reason.as_ref().map(ToString::to_string);
                let status = rejected.status;
                return Ok(Answer { status, body: Value::Null, settlement, refusal, statements: Value::Null });
            }
            Err(error) => return Err(error.into()),
        };
        let status = response.status().as_u16();
        let settlement = response.settlement().map(serde_json::to_value).transpose()?;
        let statements = statements(&response).await?;
        let body = serde_json::from_slice(&response.bytes().await?).unwrap_or(Value::Null);
        Ok(Answer { status, body, settlement, refusal: None, statements })
    }
}

/// What the server signed of a purchase, as `interop/peers/README.md` has it, if it did and the signatures are good.
async fn statements(response: &Response) -> Result<Value> {
    let Some(signed) = response.receipt() else { return Ok(Value::Null) };
    let checker = Checker::new()?;
    let trusted = [SignedBy::Account(ISSUER.to_string().parse()?), SignedBy::Key(ISSUER_KEY_ID.to_owned())];
    let receipt = response.verify_receipt(&checker, &trusted).await?;
    let offer = response.verify_offer(&checker, &trusted).await?;
    let by = checker.by(&signed.signed)?;
    let with = |statement: Value| {
        let mut fields = statement.as_object().cloned().unwrap_or_default();
        fields.insert("by".to_owned(), json!(by));
        fields
    };
    Ok(json!({"offer": with(serde_json::to_value(offer)?), "receipt": with(serde_json::to_value(receipt)?)}))
}
