//! One payment of the book, as it is shown.

use anstyle::Style;
use farthing::core::amount::Amount;
use farthing::core::asset::AssetId;
use farthing::core::books::{SettlementEntry, SettlementState};
use farthing::core::network::Network;
use farthing::core::time::UnixSeconds;
use farthing::evm::asset::{AssetTable, KnownAsset};
use farthing::evm::{Address, funded_approval};
use jiff::Timestamp;
use serde::Serialize;

use crate::terminal::{ACCENT, BAD, GOOD, plain, short};

/// One payment, for `--json` and for the lines that people read.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// The payment's id: its key.
    pub id: String,
    /// Its state.
    pub state: &'static str,
    /// When it was first sent, and when its state was written last (RFC 3339).
    pub sent_at: String,
    pub changed_at: String,
    pub network: String,
    pub scheme: String,
    pub payer: String,
    pub pay_to: String,
    /// The asset's address, and what people call it where it is known.
    pub asset: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub symbol: Option<String>,
    /// In atomic units.
    pub amount_atomic: String,
    /// As people write it, where the asset is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<String>,
    /// The amount with its unit, for people.
    #[serde(skip)]
    pub money: String,
    /// The transaction that carries or carried it.
    pub transaction: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// Why it is dead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    pub expires_at: String,
    /// How the chain names the authorization.
    pub reference: String,
    /// What it is for, where it is no payment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
}

/// A network's own coin has 18 decimals, on every EVM chain.
const COIN_DECIMALS: u8 = 18;

impl Row {
    /// The entry, with amounts as the table of assets writes them.
    pub fn of(entry: &SettlementEntry, assets: &AssetTable) -> Self {
        let record = &entry.record;
        let known = known(assets, &record.network, &record.asset);
        let amount = match &entry.state {
            SettlementState::Settled(settlement) => settlement.amount,
            SettlementState::Sending(_) | SettlementState::Dead(_) => record.amount,
        };
        let refusal = match &entry.state {
            SettlementState::Dead(refusal) => Some(refusal),
            SettlementState::Sending(_) | SettlementState::Settled(_) => None,
        };
        Self {
            id: record.key.to_string(),
            state: entry.state.name().as_str(),
            sent_at: moment(entry.sent_at),
            changed_at: moment(entry.changed_at),
            network: record.network.to_string(),
            scheme: record.scheme.clone(),
            payer: record.payer.to_string(),
            pay_to: record.pay_to.to_string(),
            asset: record.asset.to_string(),
            symbol: known.map(|asset| asset.symbol.clone()),
            amount_atomic: amount.to_string(),
            money: money(assets, &record.network, &record.asset, amount),
            amount: known.map(|asset| amount.to_decimal_string(asset.decimals)),
            transaction: entry.transaction.to_string(),
            caller: entry.caller.clone(),
            reason: refusal.map(|refusal| refusal.reason.to_string()),
            message: refusal.map(|refusal| plain(&refusal.message)),
            expires_at: moment(record.expires_at),
            reference: record.reference.clone(),
            purpose: funded_approval(record).map(|approval| format!("coin for the gas of the payer's approval {approval}")),
        }
    }
}

/// An amount with its unit: as people write it where the asset is known. The network's own coin has no contract.
pub fn money(assets: &AssetTable, network: &Network, asset: &AssetId, amount: Amount) -> String {
    if asset.as_str() == Address::ZERO.to_string() {
        return format!("{} coin", amount.to_decimal_string(COIN_DECIMALS));
    }
    match known(assets, network, asset) {
        Some(known) => format!("{} {}", amount.to_decimal_string(known.decimals), plain(&known.symbol)),
        None => format!("{amount} units of {}", short(asset.as_str())),
    }
}

fn known<'a>(assets: &'a AssetTable, network: &Network, asset: &AssetId) -> Option<&'a KnownAsset> {
    let mut on_network = assets.on(network);
    on_network.find(|known| known.address.to_string().eq_ignore_ascii_case(asset.as_str())).map(|known| &**known)
}

/// How a state looks.
pub fn colour(state: &str) -> Style {
    match state {
        "settled" => GOOD,
        "dead" => BAD,
        _ => ACCENT,
    }
}

/// So many payments, in words.
pub fn payments(count: usize) -> String {
    if count == 1 { "1 payment".to_owned() } else { format!("{count} payments") }
}

/// A moment as people and programs read it; moments that no calendar has are shown as seconds.
pub fn moment(at: UnixSeconds) -> String {
    let second = i64::try_from(at.0).ok().and_then(|second| Timestamp::from_second(second).ok());
    second.map_or_else(|| at.to_string(), |moment| moment.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use farthing::core::books::{Fingerprint, PaymentRecord};
    use farthing::core::scheme::{PaymentKey, TransactionId};

    #[test]
    fn coin_for_an_approval_is_told_in_words() {
        let approval = format!("0x{}", "ab".repeat(32));
        let record = PaymentRecord {
            key: PaymentKey([1; 32]),
            scheme: "exact".to_owned(),
            network: "eip155:84532".parse().unwrap(),
            payer: "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266".parse().unwrap(),
            pay_to: "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266".parse().unwrap(),
            asset: Address::ZERO.to_string().parse().unwrap(),
            amount: "21000000000000".parse().unwrap(),
            expires_at: UnixSeconds(1_795_280_541),
            reference: format!("funding:{approval}"),
        };
        let row = |record: PaymentRecord| {
            let transaction = TransactionId("0x1".to_owned());
            let entry = SettlementEntry {
                record,
                request: Fingerprint(String::new()),
                caller: None,
                state: SettlementState::Sending(transaction.clone()),
                transaction,
                height: 1,
                sent_at: UnixSeconds(0),
                changed_at: UnixSeconds(0),
            };
            Row::of(&entry, &AssetTable::known())
        };
        let coin = row(record.clone());
        assert_eq!(coin.money, "0.000021 coin");
        assert_eq!(coin.purpose, Some(format!("coin for the gas of the payer's approval {approval}")));
        let payment = row(PaymentRecord { reference: approval, ..record });
        assert_eq!(payment.purpose, None);
    }

    #[test]
    fn moments_are_read_by_people_and_programs() {
        assert_eq!(moment(UnixSeconds(1_795_280_541)), "2026-11-21T17:02:21Z");
        assert_eq!(moment(UnixSeconds(u64::MAX)), u64::MAX.to_string());
    }
}
