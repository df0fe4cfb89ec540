//! `payment-identifier`: a name that the client gives a purchase, so that it is made once however often it is asked for.
//!
//! The server declares whether it needs one; the client adds it to the `info` that it echoes. The same name with the same
//! request is the same purchase; with another request it is a mistake.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::reason::{Reason, Refusal};
use crate::wire::Extensions;

/// The extension's key.
pub const KEY: &str = "payment-identifier";
/// The shortest name, in characters.
pub const MIN_LENGTH: usize = 16;
/// The longest name, in characters.
pub const MAX_LENGTH: usize = 128;

/// A purchase's name: 16 to 128 letters, digits, hyphens and underscores.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct PaymentId(String);

#[derive(Deserialize)]
struct Echo {
    info: Info,
}

#[derive(Deserialize)]
struct Info {
    #[serde(default)]
    id: Option<String>,
}

/// What a server puts into its terms.
pub fn declaration(required: bool) -> Value {
    json!({
        "info": {"required": required},
        "schema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {
                "required": {"type": "boolean"},
                "id": {"type": "string", "minLength": MIN_LENGTH, "maxLength": MAX_LENGTH, "pattern": "^[a-zA-Z0-9_-]+$"},
            },
            "required": ["required"],
        },
    })
}

/// The name that a payment brings, if it brings one; it must, where the server says so.
pub fn of(extensions: &Extensions, required: bool) -> Result<Option<PaymentId>, Refusal> {
    let echo: Option<Echo> = extensions.get(KEY, Reason::InvalidPayload)?;
    match echo.and_then(|echo| echo.info.id) {
        Some(id) => PaymentId::new(&id).map(Some),
        None if required => Err(Refusal::new(
            Reason::InvalidPayload,
            format!("extensions.{KEY}.info.id: missing; this server sells only with a name for the purchase: {RULE}"),
        )),
        None => Ok(None),
    }
}

/// Whether a server's terms say that it sells only with a name.
pub fn is_required(declared: &Extensions) -> bool {
    let terms = declared.get::<Value>(KEY, Reason::InvalidPayload);
    matches!(terms, Ok(Some(terms)) if terms.pointer("/info/required") == Some(&Value::Bool(true)))
}

/// Adds the name to what a client echoes. Without the server's declaration there is nothing to add it to: `false`.
pub fn add(extensions: &mut Extensions, id: &PaymentId) -> bool {
    let Ok(Some(mut declared)) = extensions.get::<Value>(KEY, Reason::InvalidPayload) else { return false };
    let Some(info) = declared.get_mut("info").and_then(Value::as_object_mut) else { return false };
    info.insert("id".to_owned(), Value::String(id.0.clone()));
    extensions.set(KEY, &declared).is_ok()
}

const RULE: &str = "16 to 128 letters, digits, hyphens and underscores, new for every purchase";

impl PaymentId {
    /// Checks a name.
    pub fn new(text: &str) -> Result<Self, Refusal> {
        let is_good = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_');
        let length = text.chars().count();
        if (MIN_LENGTH..=MAX_LENGTH).contains(&length) && text.chars().all(is_good) {
            return Ok(Self(text.to_owned()));
        }
        let field = format!("extensions.{KEY}.info.id");
        Err(Refusal::mismatch(Reason::InvalidPayload, &field, RULE, format!("{length} characters")))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "purchase-2026_01";

    fn declared(required: bool) -> Extensions {
        let mut extensions = Extensions::default();
        extensions.set(KEY, &declaration(required)).unwrap();
        extensions
    }

    #[test]
    fn a_name_is_short_and_plain() {
        for good in [ID, &"a".repeat(128), &"-".repeat(16)] {
            assert_eq!(PaymentId::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "too-short-by-1c", &"a".repeat(129), "purchase 2026 01", "purchase-2026-0é", "purchase-2026-01\n"] {
            assert_eq!(PaymentId::new(bad).unwrap_err().reason, Reason::InvalidPayload, "{bad:?}");
        }
    }

    #[test]
    fn a_client_adds_it_to_what_the_server_declared_and_the_echo_is_good() {
        let terms = declared(true);
        let mut payment = terms.clone();
        assert!(add(&mut payment, &PaymentId::new(ID).unwrap()));
        assert_eq!(of(&payment, true).unwrap().unwrap().as_str(), ID);
        super::super::echo::check(&terms, &payment).unwrap();
        assert!(!add(&mut Extensions::default(), &PaymentId::new(ID).unwrap()), "nobody asked for it");
    }

    #[test]
    fn it_is_missed_only_where_it_is_required() {
        assert_eq!(of(&Extensions::default(), false).unwrap(), None);
        assert_eq!(of(&declared(false), false).unwrap(), None);
        assert!(is_required(&declared(true)) && !is_required(&declared(false)) && !is_required(&Extensions::default()));
        for missing in [Extensions::default(), declared(true)] {
            assert!(of(&missing, true).unwrap_err().message.contains("new for every purchase"));
        }
        let mut odd = Extensions::default();
        odd.set(KEY, &json!({"info": {"required": true, "id": 7}})).unwrap();
        assert!(of(&odd, false).is_err());
    }
}
