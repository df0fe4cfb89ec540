//! What every role checks of an offer, each fault with its reason.

use std::sync::Arc;

use alloy_primitives::{Address, U256};
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::PaymentFlow;
use farthing_core::wire::{PaymentRequirements, SupportedKind};

use super::Extra;
use crate::asset::{AssetTable, KnownAsset, TransferMethod};
use crate::network::chain_id;
use crate::text::{parse_address, quoted};

/// The chain of an offer.
pub(crate) fn chain_of(requirements: &PaymentRequirements) -> Result<u64, Refusal> {
    chain_id(&requirements.network).ok_or_else(|| {
        Refusal::mismatch(Reason::InvalidNetwork, "network", "an EVM network such as \"eip155:8453\"", &requirements.network)
    })
}

/// The contract of an offer's asset.
pub(crate) fn asset_address(requirements: &PaymentRequirements) -> Result<Address, Refusal> {
    let text = requirements.asset.as_str();
    parse_address(text).ok_or_else(|| not_an_address("asset", text))
}

/// The asset of an offer, which must be known here.
pub(crate) fn known_asset<'a>(
    requirements: &PaymentRequirements,
    assets: &'a AssetTable,
) -> Result<&'a Arc<KnownAsset>, Refusal> {
    let (chain_id, address) = (chain_of(requirements)?, asset_address(requirements)?);
    assets.get(chain_id, address).ok_or_else(|| unknown_asset(requirements, assets))
}

/// The asset of an offer, which must be known here, and the method by which the offer has it moved. Permit2 moves any asset;
/// EIP-3009 only those that know it.
pub(crate) fn asset_of<'a>(
    requirements: &PaymentRequirements,
    extra: &Extra,
    assets: &'a AssetTable,
) -> Result<(&'a Arc<KnownAsset>, TransferMethod), Refusal> {
    let asset = known_asset(requirements, assets)?;
    let Some(method) = extra.asset_transfer_method.as_deref() else { return Ok((asset, asset.method)) };
    match method {
        "eip3009" if asset.method == TransferMethod::Eip3009 => Ok((asset, TransferMethod::Eip3009)),
        "permit2" => Ok((asset, TransferMethod::Permit2)),
        _ => {
            let expected = match asset.method {
                TransferMethod::Eip3009 => "\"eip3009\" or \"permit2\"",
                TransferMethod::Permit2 => "\"permit2\"",
            };
            let got = format!("{}, for {} on {}", quoted(method), asset.symbol, asset.network);
            let field = "extra.assetTransferMethod";
            Err(Refusal::mismatch(Reason::UnsupportedAssetTransferMethod, field, expected, got))
        }
    }
}

/// Whether the offer names the token's EIP-712 domain as it is. What it leaves out is not looked at.
pub(crate) fn same_domain(extra: &Extra, asset: &KnownAsset) -> Result<(), Refusal> {
    let parts = [
        (Reason::InvalidExactEvmTokenNameMismatch, "extra.name", &asset.name, &extra.name),
        (Reason::InvalidExactEvmTokenVersionMismatch, "extra.version", &asset.version, &extra.version),
    ];
    for (reason, field, known, got) in parts {
        if let Some(got) = got.as_ref().filter(|got| *got != known) {
            let expected = format!("{known:?}, the EIP-712 domain of {} on {}", asset.symbol, asset.network);
            return Err(Refusal::mismatch(reason, field, expected, quoted(got)));
        }
    }
    Ok(())
}

/// Names the token's EIP-712 domain in an offer that is about to be made, where payers sign under it: for a transfer by the
/// token itself, or for an approval of Permit2. Clients of others take a domain beside Permit2 for the word that the token
/// knows EIP-2612, ask it for its nonce and give up when it has none.
pub(crate) fn name_domain(requirements: &mut PaymentRequirements, asset: &KnownAsset, method: TransferMethod) {
    for (field, value) in [("name", &asset.name), ("version", &asset.version)] {
        if method == TransferMethod::Eip3009 || asset.permits {
            requirements.extra.insert(field.to_owned(), value.clone().into());
        } else {
            requirements.extra.remove(field);
        }
    }
}

/// Who is to be paid.
pub(crate) fn recipient_of(requirements: &PaymentRequirements) -> Result<Address, Refusal> {
    let text = requirements.pay_to.as_str();
    let recipient = parse_address(text).ok_or_else(|| not_an_address("payTo", text))?;
    if recipient.is_zero() {
        return Err(Refusal::new(
            Reason::InvalidPaymentRequirements,
            "payTo: expected an account, got the zero address, where money is lost",
        ));
    }
    Ok(recipient)
}

/// Who is to be paid by an offer that is about to be made.
pub(crate) fn payee_of(requirements: &PaymentRequirements, asset: &KnownAsset) -> Result<Address, Refusal> {
    let pay_to = recipient_of(requirements)?;
    if pay_to == asset.address {
        let message = "payTo: expected an account, got the asset's own contract, where money is lost";
        return Err(Refusal::new(Reason::InvalidPaymentRequirements, message));
    }
    Ok(pay_to)
}

/// Whether an offer that is about to be made and what the facilitator can do belong together.
pub(crate) fn check_kind(requirements: &PaymentRequirements, kind: &SupportedKind, scheme: &str) -> Result<(), Refusal> {
    if kind.scheme != scheme || requirements.scheme != scheme {
        let got = quoted(&requirements.scheme);
        return Err(Refusal::mismatch(Reason::UnsupportedScheme, "scheme", format!("{scheme:?}"), got));
    }
    if kind.network != requirements.network {
        let expected = format!("{}, the network of the facilitator's kind", kind.network);
        return Err(Refusal::mismatch(Reason::InvalidNetwork, "network", expected, &requirements.network));
    }
    Ok(())
}

/// How much is asked for; nothing is no payment.
pub(crate) fn amount_of(requirements: &PaymentRequirements) -> Result<U256, Refusal> {
    if requirements.amount.is_zero() {
        let message = "amount: expected at least 1 atomic unit, got 0; leave the route unpriced to make it free";
        return Err(Refusal::new(Reason::InvalidPaymentRequirements, message));
    }
    Ok(requirements.amount.units())
}

/// The offer's payment flow, which must be one of those given.
pub(crate) fn flow_of(requirements: &PaymentRequirements, supported: &[PaymentFlow]) -> Result<PaymentFlow, Refusal> {
    let flow = PaymentFlow::of(requirements)?;
    if supported.contains(&flow) {
        return Ok(flow);
    }
    let message = format!(
        "extra.paymentFlow: {flow:?} is not supported here for the scheme {}; leave it out",
        quoted(&requirements.scheme)
    );
    Err(Refusal::new(Reason::UnsupportedPaymentFlow, message))
}

fn not_an_address(field: &str, got: &str) -> Refusal {
    let expected = "an address (0x and 40 hexadecimal digits)";
    Refusal::mismatch(Reason::InvalidPaymentRequirements, field, expected, quoted(got))
}

fn unknown_asset(requirements: &PaymentRequirements, assets: &AssetTable) -> Refusal {
    let known: Vec<String> =
        assets.on(&requirements.network).map(|asset| format!("{} ({})", asset.symbol, asset.address)).collect();
    let expected = match known.as_slice() {
        [] => format!("an asset known on {}, and none is; add it to the configuration", requirements.network),
        known => format!("one of the assets known on {}: {}", requirements.network, known.join(", ")),
    };
    Refusal::mismatch(Reason::InvalidPaymentRequirements, "asset", expected, &requirements.asset)
}
