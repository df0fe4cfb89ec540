//! What a client may change of the extensions that it echoes (the official SDKs' rules).
//!
//! 1. An extension that the client leaves out is no fault, and neither is one that the server never declared.
//! 2. Of one that it echoes, `info` must hold everything that the server's `info` holds, with the same values. It may hold
//!    more. Where there is no `info`, the whole object is compared.
//! 3. Some fields are made anew for every answer and are not compared; some lists may grow, up to a limit; and some fields
//!    are the server's alone, so that no client may invent them.

use serde_json::{Map, Value};

use super::builder_code::{self, MAX_ECHOED_CODES};
use super::{offer_receipt, sign_in_with_x};
use crate::reason::{Reason, Refusal};
use crate::wire::Extensions;

/// How one extension differs from the rule.
#[derive(Clone, Copy, Default)]
struct Exceptions {
    /// Made anew for every answer.
    dynamic: &'static [&'static str],
    /// May grow, to so many entries at most.
    growing: &'static [(&'static str, usize)],
    /// Only servers may set them.
    servers_own: &'static [&'static str],
}

fn exceptions(key: &str) -> Exceptions {
    match key {
        offer_receipt::KEY => Exceptions { dynamic: &["offers"], ..Exceptions::default() },
        sign_in_with_x::KEY => Exceptions { dynamic: &["nonce", "issuedAt", "expirationTime"], ..Exceptions::default() },
        builder_code::KEY => Exceptions { growing: &[("s", MAX_ECHOED_CODES)], servers_own: &["a"], ..Exceptions::default() },
        _ => Exceptions::default(),
    }
}

/// Checks what a payment echoes against what the terms declared.
pub fn check(declared: &Extensions, echoed: &Extensions) -> Result<(), Refusal> {
    for key in echoed.keys() {
        let exceptions = exceptions(key);
        let theirs = info(echoed, key)?;
        let ours = info(declared, key)?;
        let field = exceptions.servers_own.iter().find(|field| is_invented(field, ours.as_ref(), theirs.as_ref()));
        if let Some(field) = field {
            return Err(mismatch(key, &format!("{field} is the server's to set")));
        }
        if let Some(ours) = ours
            && !theirs.is_some_and(|theirs| holds(&ours, &theirs, exceptions))
        {
            return Err(mismatch(key, "info must be what the terms declare; it may only hold more"));
        }
    }
    Ok(())
}

fn mismatch(key: &str, rule: &str) -> Refusal {
    let key: String = key.chars().take(100).collect();
    Refusal::new(Reason::ExtensionEchoMismatch, format!("extensions.{key}: {rule}; leave it out, or echo it as it came"))
}

/// What an extension says: its `info`, or all of it where there is none.
fn info(extensions: &Extensions, key: &str) -> Result<Option<Value>, Refusal> {
    let read = extensions.get::<Value>(key, Reason::ExtensionEchoMismatch)?;
    Ok(read.map(|mut value| match value.get_mut("info") {
        Some(info) => info.take(),
        None => value,
    }))
}

fn is_invented(field: &str, ours: Option<&Value>, theirs: Option<&Value>) -> bool {
    let theirs = theirs.and_then(|theirs| theirs.get(field));
    theirs.is_some() && theirs != ours.and_then(|ours| ours.get(field))
}

/// Whether an echo holds all of what was declared, but for the exceptions.
fn holds(ours: &Value, theirs: &Value, exceptions: Exceptions) -> bool {
    let (Value::Object(ours), Value::Object(theirs)) = (ours, theirs) else { return ours == theirs };
    ours.iter().filter(|(field, _)| !exceptions.dynamic.contains(&field.as_str())).all(|(field, value)| {
        let limit = exceptions.growing.iter().find(|(name, _)| name == field).map(|(_, limit)| *limit);
        match (theirs.get(field), limit) {
            (Some(theirs), Some(limit)) => has_grown(value, theirs, limit),
            (Some(theirs), None) => contains(value, theirs),
            (None, _) => false,
        }
    })
}

/// Whether a list holds all of another one's entries, and not too many more. A single value counts as a list of one.
fn has_grown(ours: &Value, theirs: &Value, limit: usize) -> bool {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
    let (ours, theirs) = (list(ours), list(theirs));
    theirs.len() <= limit && ours.iter().all(|entry| theirs.contains(entry))
}

/// Whether a value is the other one; objects may hold more.
fn contains(ours: &Value, theirs: &Value) -> bool {
    let all = |ours: &Map<String, Value>, theirs: &Map<String, Value>| {
        ours.iter().all(|(field, value)| theirs.get(field).is_some_and(|theirs| contains(value, theirs)))
    };
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => all(ours, theirs),
        (ours, theirs) => ours == theirs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn extensions(value: &Value) -> Extensions {
        let mut extensions = Extensions::default();
        for (key, value) in value.as_object().unwrap() {
            extensions.set(key, value).unwrap();
        }
        extensions
    }

    fn is_good(declared: &Value, echoed: &Value) -> bool {
        let checked = check(&extensions(declared), &extensions(echoed));
        if let Err(refusal) = &checked {
            assert_eq!(refusal.reason, Reason::ExtensionEchoMismatch);
        }
        checked.is_ok()
    }

    #[test]
    fn what_is_left_out_or_never_declared_is_no_fault() {
        let declared = json!({"bazaar": {"info": {"a": 1}}});
        assert!(is_good(&declared, &json!({})));
        assert!(is_good(&declared, &json!({"memo": {"info": {"a": 2}}, "flag": true})));
        assert!(is_good(&json!({}), &json!({"bazaar": {"info": {"a": 1}}})));
    }

    #[test]
    fn an_echo_may_hold_more_and_nothing_else() {
        let declared = json!({"x": {"info": {"required": true, "deep": {"a": [1, 2]}}, "schema": {"type": "object"}}});
        let cases = [
            (json!({"info": {"required": true, "deep": {"a": [1, 2]}}}), true),
            (json!({"info": {"required": true, "deep": {"a": [1, 2], "b": 3}, "id": "x"}, "schema": null}), true),
            (json!({"info": {"required": false, "deep": {"a": [1, 2]}}}), false),
            (json!({"info": {"required": true, "deep": {"a": [1, 2, 3]}}}), false),
            (json!({"info": {"required": true}}), false),
            (json!({"info": null}), false),
            (json!([]), false),
            (json!({"required": true, "deep": {"a": [1, 2]}}), true),
        ];
        for (echoed, expected) in cases {
            assert_eq!(is_good(&declared, &json!({"x": echoed})), expected, "{echoed}");
        }
        assert!(
            is_good(&json!({"x": "plain"}), &json!({"x": "plain"})) && !is_good(&json!({"x": "plain"}), &json!({"x": "other"}))
        );
    }

    #[test]
    fn what_is_made_anew_for_every_answer_is_not_compared() {
        let siwx = |nonce: &str, domain: &str| json!({"sign-in-with-x": {"info": {"domain": domain, "nonce": nonce}}});
        assert!(is_good(&siwx("one", "a.example"), &siwx("two", "a.example")));
        assert!(!is_good(&siwx("one", "a.example"), &siwx("one", "b.example")));
        let offers = |offers: Value| json!({"offer-receipt": {"info": {"offers": offers}}});
        assert!(is_good(&offers(json!([1])), &offers(json!([2]))));
    }

    #[test]
    fn service_codes_may_be_added_and_an_app_code_may_not_be_invented() {
        let code = |info: Value| json!({"builder-code": {"info": info}});
        assert!(is_good(&code(json!({"a": "app", "s": ["one"]})), &code(json!({"a": "app", "s": ["two", "one"]}))));
        assert!(is_good(&code(json!({"s": "one"})), &code(json!({"s": ["one", "two"]}))));
        assert!(!is_good(&code(json!({"s": ["one"]})), &code(json!({"s": ["two"]}))));
        let many: Vec<String> = (0..11).map(|number| format!("s{number}")).collect();
        assert!(!is_good(&code(json!({"s": ["s0"]})), &code(json!({"s": many}))));
        assert!(!is_good(&json!({}), &code(json!({"a": "mine"}))));
        assert!(!is_good(&code(json!({"a": "app"})), &code(json!({"a": "mine"}))));
        assert!(is_good(&json!({}), &code(json!({"w": "wallet"}))));
    }
}
