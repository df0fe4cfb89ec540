//! What a seller's terms say of approvals that the facilitator pays for: what clients may add, and in which form (protocol
//! reference §7.4). Only payments by Permit2 need an approval, and only facilitators that pay for one say so.

use farthing_core::wire::PaymentRequirements;
use serde_json::{Map, Value, json};

use super::{approval, eip2612};
use crate::asset::TransferMethod;

const ADDRESS: &str = "^0x[a-fA-F0-9]{40}$";
const NUMBER: &str = "^[0-9]+$";
const BYTES: &str = "^0x[a-fA-F0-9]+$";
const VERSION: &str = "^[0-9]+(\\.[0-9]+)*$";

/// The extensions to declare beside an offer, of those that the facilitator knows.
pub(crate) fn declared(requirements: &PaymentRequirements, known: &[String]) -> Vec<(&'static str, Value)> {
    let method = requirements.extra.get("assetTransferMethod").and_then(Value::as_str);
    if method != Some(TransferMethod::Permit2.to_string().as_str()) {
        return Vec::new();
    }
    let all = [(eip2612::EXTENSION, permits()), (approval::EXTENSION, approvals())];
    all.into_iter().filter(|(key, _)| known.iter().any(|name| name == key)).collect()
}

fn permits() -> Value {
    let description = "The facilitator pays for an approval of Permit2 that is signed as EIP-2612 says.";
    declaration(description, eip2612::EXTENSION_VERSION, eip2612::Info::FIELDS)
}

fn approvals() -> Value {
    let description = "The facilitator broadcasts a signed transaction that approves Permit2, and pays for its gas.";
    declaration(description, approval::EXTENSION_VERSION, approval::Info::FIELDS)
}

fn declaration(description: &str, version: &str, fields: &[&str]) -> Value {
    let field = |name: &&str| ((*name).to_owned(), json!({"type": "string", "pattern": pattern(name)}));
    let properties: Map<String, Value> = fields.iter().map(field).collect();
    json!({
        "info": {"description": description, "version": version},
        "schema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": properties,
            "required": fields,
        },
    })
}

fn pattern(field: &str) -> &'static str {
    match field {
        "from" | "asset" | "spender" => ADDRESS,
        "signature" | "signedTransaction" => BYTES,
        "version" => VERSION,
        _ => NUMBER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asset::AssetTable;
    use crate::{exact, upto};
    use farthing_core::scheme::ServerScheme as _;
    use farthing_testkit::golden;
    use std::sync::Arc;

    fn requirements(method: Option<&str>) -> PaymentRequirements {
        let mut extra = Map::new();
        extra.extend(method.map(|method| ("assetTransferMethod".to_owned(), method.into())));
        PaymentRequirements {
            scheme: "exact".to_owned(),
            network: golden::NETWORK.parse().unwrap(),
            amount: golden::AMOUNT.into(),
            asset: golden::ASSET.parse().unwrap(),
            pay_to: golden::PAY_TO.parse().unwrap(),
            max_timeout_seconds: 60,
            extra,
        }
    }

    #[test]
    fn only_what_the_facilitator_knows_is_declared_and_only_beside_offers_by_permit2() {
        let assets = Arc::new(AssetTable::known());
        let (exact, upto) = (exact::Server::new(Arc::clone(&assets)), upto::Server::new(assets));
        let keys = |method, known: &[&str]| {
            let known: Vec<String> = known.iter().map(|key| (*key).to_owned()).collect();
            let offer = requirements(method);
            let names = |declared: Vec<(&'static str, Value)>| declared.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
            let both = [names(exact.declares(&offer, &known)), names(upto.declares(&offer, &known))];
            assert_eq!(both[0], both[1]);
            both[0].clone()
        };
        let both = [eip2612::EXTENSION, approval::EXTENSION];
        assert_eq!(keys(Some("permit2"), &["bazaar", approval::EXTENSION, eip2612::EXTENSION]), both);
        assert_eq!(keys(Some("permit2"), &[approval::EXTENSION]), [approval::EXTENSION]);
        assert_eq!(keys(Some("permit2"), &[]), Vec::<&str>::new());
        assert_eq!(keys(Some("eip3009"), &both), Vec::<&str>::new());
        assert_eq!(keys(None, &both), Vec::<&str>::new());
    }

    /// The fields, their patterns and what is required, as `@x402/extensions` 2.27.0 declares them.
    #[test]
    fn the_forms_are_those_of_the_official_sdk() {
        let text = |pattern: &str| json!({"type": "string", "pattern": pattern});
        let address = || text("^0x[a-fA-F0-9]{40}$");
        let number = || text("^[0-9]+$");
        let version = || text("^[0-9]+(\\.[0-9]+)*$");
        let bytes = || text("^0x[a-fA-F0-9]+$");
        let schema = |properties: Value, required: &[&str]| {
            let draft = "https://json-schema.org/draft/2020-12/schema";
            json!({"$schema": draft, "type": "object", "properties": properties, "required": required})
        };
        let permits = permits();
        assert_eq!(permits["info"]["version"], "1");
        assert!(permits["info"]["description"].is_string());
        let properties = json!({
            "from": address(), "asset": address(), "spender": address(), "amount": number(), "nonce": number(),
            "deadline": number(), "signature": bytes(), "version": version(),
        });
        let required = ["from", "asset", "spender", "amount", "nonce", "deadline", "signature", "version"];
        assert_eq!(permits["schema"], schema(properties, &required));
        let properties = json!({
            "from": address(), "asset": address(), "spender": address(), "amount": number(), "signedTransaction": bytes(),
            "version": version(),
        });
        let required = ["from", "asset", "spender", "amount", "signedTransaction", "version"];
        assert_eq!(approvals()["schema"], schema(properties, &required));
    }
}
