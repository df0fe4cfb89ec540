//! Payments to measure with: signed like those of a real buyer, and spoilt where a fault is to be measured.

use std::sync::Arc;
use std::task::{Poll, Waker};

use alloy_primitives::{B256, U256, keccak256};
use anyhow::{Context, bail};
use farthing::evm::asset::{AssetTable, KnownAsset};
use farthing::evm::chain::Chain;
use farthing::evm::exact::{self, SignedAuthorization};
use farthing::evm::signature::{Signature, WireSignature};
use farthing::evm::signer::{LocalSigner, Signer};
use farthing::evm::transfer::eip3009::Authorization;
use farthing::evm::{account_id, parse_address};
use farthing::system::SystemClock;
use farthing_core::books::{Fingerprint, LaneClaim, LaneId, LaneLease, Outbox, OutgoingPayment, PaymentRecord};
use farthing_core::erased::AnyFacilitatorScheme;
use farthing_core::scheme::{Settlement, TransactionId};
use farthing_core::time::{Clock, UnixSeconds};
use farthing_core::wire::{
    Accepted, Extensions, Payload, PaymentPayload, PaymentRequest, PaymentRequirements, ResourceInfo, Verbatim, Version,
};
use zeroize::Zeroizing;

use crate::load;

/// The network of everything here: Base Sepolia, which the embedded chain stands for.
pub const NETWORK: &str = "eip155:84532";
/// Its chain id.
pub const CHAIN_ID: u64 = 84_532;
/// USDC there.
pub const ASSET: &str = "0x036CbD53842c5426634e7929541eC2318f3dCF7e";
/// Who is paid.
pub const PAY_TO: &str = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C";
/// What everything costs: one cent.
pub const PRICE: &str = "$0.01";
/// The same in atomic units.
pub const AMOUNT_ATOMIC: u64 = 10_000;
/// The resource that the payments name.
pub const RESOURCE: &str = "http://127.0.0.1/paid";
/// How many buyers there are.
pub const PAYERS: u32 = 16;
/// The number of the account that settles for the facilitator.
pub const OPERATOR: u32 = 16;
/// The number of the account with which the chain's own ceiling is measured.
pub const RIVAL: u32 = 17;

/// How long a payment is good: shorter than the offer allows, longer than any group takes.
const WINDOW_SECONDS: u64 = 290;

/// What is needed to make payments.
pub struct Sample {
    /// The token.
    pub asset: Arc<KnownAsset>,
    /// The offer.
    pub requirements: Verbatim<PaymentRequirements>,
    payers: Vec<LocalSigner>,
}

impl Sample {
    pub fn new() -> anyhow::Result<Self> {
        let address = parse_address(ASSET).context("the asset's address")?;
        let asset = AssetTable::known().get(CHAIN_ID, address).context("the asset is not known")?.clone();
        let requirements = offer(NETWORK, &asset)?;
        let payers = (0..PAYERS).map(payer).collect::<anyhow::Result<_>>()?;
        Ok(Self { asset, requirements, payers })
    }

    /// A transfer that pays the offer. The serial number decides the payer and the nonce.
    pub fn authorization(&self, serial: u32) -> anyhow::Result<Authorization> {
        Ok(Authorization {
            from: self.payer(serial)?.address(),
            to: parse_address(PAY_TO).context("the recipient's address")?,
            value: U256::from(AMOUNT_ATOMIC),
            valid_after: U256::ZERO,
            valid_before: U256::from(now().plus(WINDOW_SECONDS).0),
            nonce: keccak256(serial.to_be_bytes()),
        })
    }

    /// What the payer of that serial number signs, whatever it says.
    pub fn sign(&self, serial: u32, authorization: Authorization) -> anyhow::Result<SignedAuthorization> {
        let signature = sign(self.payer(serial)?, authorization.digest(self.asset.domain_separator))?;
        Ok(SignedAuthorization { signature: WireSignature::from(signature), authorization })
    }

    /// A payment that takes the offer.
    pub fn payment(&self, signed: &SignedAuthorization) -> anyhow::Result<PaymentPayload> {
        let resource = ResourceInfo { url: RESOURCE.to_owned(), ..ResourceInfo::default() };
        Ok(PaymentPayload {
            version: Version::V2,
            resource: Some(Verbatim::new(resource)?),
            accepted: Accepted::Offer(self.requirements.clone()),
            payload: Payload::new(signed)?,
            extensions: Extensions::default(),
        })
    }

    /// A good payment.
    pub fn good(&self, serial: u32) -> anyhow::Result<PaymentPayload> {
        self.payment(&self.sign(serial, self.authorization(serial)?)?)
    }

    /// The requests that ask a facilitator about good payments, at this path over HTTP.
    pub fn posts(&self, path: &str, serials: impl Iterator<Item = u32>) -> anyhow::Result<Vec<Vec<u8>>> {
        let post = |serial| Ok(load::post(path, &serde_json::to_string(&self.request(self.good(serial)?))?));
        serials.map(post).collect()
    }

    /// What a server asks its facilitator about a payment.
    pub fn request(&self, payment: PaymentPayload) -> PaymentRequest {
        PaymentRequest { version: Version::V2, payment, requirements: self.requirements.clone(), trace: None }
    }

    /// A payment as a book and its outbox get it.
    pub fn outgoing(&self, serial: u32) -> anyhow::Result<OutgoingPayment> {
        let request = self.request(self.good(serial)?);
        let read = AnyFacilitatorScheme::read(&scheme(Vec::new()), &request);
        let record = read.map_err(|refusal| anyhow::anyhow!("{refusal}"))?.record;
        let request = Fingerprint(format!("request {serial}"));
        Ok(OutgoingPayment { record, request, caller: None, fee_gwei: 1, budgets: Vec::new() })
    }

    fn payer(&self, serial: u32) -> anyhow::Result<&LocalSigner> {
        let place = usize::try_from(serial % PAYERS)?;
        self.payers.get(place).context("there are no payers")
    }
}

/// The offer on a network; only its name differs.
pub fn offer(network: &str, asset: &KnownAsset) -> anyhow::Result<Verbatim<PaymentRequirements>> {
    let offer = serde_json::json!({
        "scheme": "exact", "network": network, "amount": AMOUNT_ATOMIC.to_string(), "asset": ASSET, "payTo": PAY_TO,
        "maxTimeoutSeconds": 300, "extra": {"name": asset.name, "version": asset.version},
    });
    Ok(Verbatim::new(serde_json::from_value(offer)?)?)
}

/// The account of one buyer.
pub fn payer(number: u32) -> anyhow::Result<LocalSigner> {
    Ok(LocalSigner::from_bytes(Zeroizing::new(key(number).0))?)
}

/// Its key, for a process that gets it from its environment. It is worth nothing on any chain that is.
pub fn key(number: u32) -> B256 {
    keccak256(format!("farthing-bench-payer-{number}"))
}

/// Signs with a key in memory, which waits for nothing.
pub fn sign(signer: &LocalSigner, hash: B256) -> anyhow::Result<Signature> {
    match signer.sign_hash(hash).as_mut().poll(&mut std::task::Context::from_waker(Waker::noop())) {
        Poll::Ready(signature) => Ok(signature?),
        Poll::Pending => bail!("a key in memory did not sign at once"),
    }
}

/// The scheme of all payments, on these chains.
pub fn scheme(chains: Vec<Arc<Chain>>) -> exact::Facilitator {
    exact::Facilitator::new(chains, Arc::new(AssetTable::known()), Arc::new(SystemClock))
}

/// The lane of the account that settles.
pub async fn take_lane(outbox: &dyn Outbox) -> anyhow::Result<LaneLease> {
    let lane = LaneId { network: NETWORK.parse()?, account: account_id(payer(OPERATOR)?.address()) };
    match outbox.take(&lane).await? {
        LaneClaim::Ours(lease) => Ok(lease),
        LaneClaim::Theirs => bail!("another node has the lane of a book that is new"),
    }
}

/// The end of a payment that this transaction carried.
pub fn settlement(record: &PaymentRecord, transaction: TransactionId) -> Settlement {
    Settlement { transaction, network: record.network.clone(), payer: record.payer.clone(), amount: record.amount }
}

/// The machine's time.
pub fn now() -> UnixSeconds {
    SystemClock.now()
}
