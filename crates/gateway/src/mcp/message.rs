//! One message of JSON-RPC from a client, read so that nobody can read it otherwise.
//!
//! Servers read JSON in many ways: the first of two keys or the last, keys in any letter case, numbers cut to what a float can
//! hold, a batch as several calls. So a message is refused (400) where that could make a difference:
//!
//! - a batch, a byte order mark, a key twice in one object, nesting without end, a whole number beyond 64 bits;
//! - a member of the envelope that JSON-RPC does not have, or a key that is one of ours in another letter case;
//! - an id that is neither a text nor a whole number, and one of a kind that only the gateway gives.
//!
//! What is called by name goes on as it was understood: the envelope is written anew, the arguments byte for byte.

use std::fmt;

use farthing_core::json;
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use crate::file::MAX_NAME_BYTES;
use crate::pattern::fold;

/// Where a client puts its payment, in `params._meta`.
pub(super) const PAYMENT: &str = "x402/payment";
/// What an id begins with that the gateway gives to the upstream.
pub(super) const OUR_ID: &str = "farthing-";
/// The longest id, in bytes.
const MAX_ID_BYTES: usize = 256;

/// The members of JSON-RPC.
const ENVELOPE: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];
/// The parameters that say what is called, and how.
const PARAMETERS: [&str; 5] = ["name", "uri", "arguments", "_meta", "task"];

/// Members of an object in their order, each value as it was written.
#[derive(Clone, Debug, Default)]
pub(super) struct Members(pub(super) Vec<(String, Box<RawValue>)>);

/// A message.
pub(super) struct Message {
    /// As it was written; `None` of what wants no answer.
    pub(super) id: Option<Box<RawValue>>,
    /// `None` of an answer to the server.
    pub(super) method: Option<String>,
    params: Option<Members>,
}

/// What is called by name.
pub(super) struct Call {
    pub(super) id: Box<RawValue>,
    pub(super) kind: Kind,
    pub(super) name: String,
    /// What the client pays with.
    pub(super) payment: Option<Box<RawValue>>,
    params: Members,
}

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tool,
    Resource,
    Prompt,
}

/// Why a message is refused: what was expected, and what came.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unreadable(String);

fn refuse<T>(why: impl Into<String>) -> Result<T, Unreadable> {
    Err(Unreadable(why.into()))
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Tool, Self::Resource, Self::Prompt];

    pub(crate) const fn method(self) -> &'static str {
        match self {
            Self::Tool => "tools/call",
            Self::Resource => "resources/read",
            Self::Prompt => "prompts/get",
        }
    }

    /// The parameter that names it.
    const fn key(self) -> &'static str {
        match self {
            Self::Tool | Self::Prompt => "name",
            Self::Resource => "uri",
        }
    }

    /// What it is called by people.
    pub(crate) const fn noun(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Resource => "resource",
            Self::Prompt => "prompt",
        }
    }
}

impl Message {
    /// Reads the body of a request.
    pub(super) fn read(body: &[u8]) -> Result<Self, Unreadable> {
        let Ok(text) = std::str::from_utf8(body) else { return refuse("the body: expected JSON in UTF-8, got other bytes") };
        if text.trim_start().starts_with('[') {
            return refuse("the body: expected one message, got a list; send each call of a batch in a request of its own");
        }
        json::check(text).map_err(|error| Unreadable(format!("the body: {error}")))?;
        // Lone surrogates, numbers beyond all floats and the like are found here.
        serde_json::from_str::<Value>(text).map_err(|error| Unreadable(format!("the body: expected JSON: {error}")))?;
        check_numbers(text)?;
        let envelope: Members =
            serde_json::from_str(text).map_err(|_| Unreadable("the body: expected an object".to_owned()))?;
        for (key, _) in &envelope.0 {
            if !ENVELOPE.contains(&key.as_str()) {
                let key: String = key.chars().take(100).collect();
                return refuse(format!("{key:?}: expected a message of JSON-RPC with jsonrpc, id, method and params alone"));
            }
        }
        if envelope.text("jsonrpc")?.as_deref() != Some("2.0") {
            return refuse("jsonrpc: expected \"2.0\"");
        }
        let params = envelope.get("params").map(|raw| object(raw, "params")).transpose()?;
        let message = Self { id: envelope.get("id").map(RawValue::to_owned), method: envelope.text("method")?, params };
        let is_answer = envelope.get("result").is_some() || envelope.get("error").is_some();
        if message.method.is_some() == is_answer {
            return refuse("the body: expected a method, or else a result or an error");
        }
        message.id.as_deref().map_or(Ok(()), check_id)?;
        Ok(message)
    }

    /// What is called by name, if something is.
    pub(super) fn call(self) -> Result<Result<Call, Self>, Unreadable> {
        let kind = Kind::ALL.into_iter().find(|kind| self.method.as_deref() == Some(kind.method()));
        let Some(kind) = kind else { return Ok(Err(self)) };
        let Some(id) = self.id else {
            return refuse(format!("id: expected one: {} without an answer would be done for nothing", kind.method()));
        };
        let mut params = self.params.unwrap_or_default();
        for (key, _) in &params.0 {
            if !PARAMETERS.contains(&key.as_str()) && PARAMETERS.iter().any(|known| *known == fold(key)) {
                return refuse(format!("params.{key}: expected {}, in these letters", fold(key)));
            }
        }
        let Some(name) = params.text(kind.key())? else { return refuse(format!("params.{}: expected a text", kind.key())) };
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return refuse(format!("params.{}: expected 1 to {MAX_NAME_BYTES} bytes", kind.key()));
        }
        // Written plainly, it has one reading.
        params.replace(kind.key(), &name)?;
        let payment = params.take_payment()?;
        if let Some(arguments) = params.get("arguments") {
            object(arguments, "params.arguments")?;
        }
        Ok(Ok(Call { id, kind, name, payment, params }))
    }
}

impl Call {
    /// Whether it is to be carried out as a task, whose result is fetched later.
    pub(super) fn is_task(&self) -> bool {
        self.params.get("task").is_some()
    }

    /// The message as the upstream gets it, under this id, without the payment.
    pub(super) fn forwarded(&self, id: &RawValue) -> Result<Vec<u8>, serde_json::Error> {
        let mut message = Members::default();
        message.set("jsonrpc", to_raw_value("2.0")?);
        message.set("id", id.to_owned());
        message.set("method", to_raw_value(self.kind.method())?);
        message.set("params", to_raw_value(&self.params)?);
        serde_json::to_vec(&message)
    }

    /// What is bought, and nothing else: no id, and nothing that differs when the same is asked again.
    pub(super) fn bought(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut bought = Members::default();
        bought.set("method", to_raw_value(self.kind.method())?);
        for key in [self.kind.key(), "arguments"] {
            if let Some(raw) = self.params.get(key) {
                bought.set(key, raw.to_owned());
            }
        }
        serde_json::to_vec(&bought)
    }
}

impl Members {
    pub(super) fn get(&self, key: &str) -> Option<&RawValue> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, raw)| &**raw)
    }

    pub(super) fn set(&mut self, key: &str, value: Box<RawValue>) {
        self.0.retain(|(name, _)| name != key);
        self.0.push((key.to_owned(), value));
    }

    /// A member that is a text, if it is there.
    fn text(&self, key: &str) -> Result<Option<String>, Unreadable> {
        let Some(raw) = self.get(key) else { return Ok(None) };
        serde_json::from_str(raw.get()).map(Some).map_err(|_| Unreadable(format!("{key}: expected a text")))
    }

    /// Takes the payment out of the parameters: it is not for the upstream.
    fn take_payment(&mut self) -> Result<Option<Box<RawValue>>, Unreadable> {
        let Some(raw) = self.get("_meta") else { return Ok(None) };
        let mut meta = object(raw, "params._meta")?;
        let Some(place) = meta.0.iter().position(|(key, _)| key == PAYMENT) else { return Ok(None) };
        let (_, payment) = meta.0.remove(place);
        self.replace("_meta", &meta)?;
        Ok(Some(payment))
    }

    fn replace(&mut self, key: &str, value: &impl Serialize) -> Result<(), Unreadable> {
        let raw = to_raw_value(value).map_err(|error| Unreadable(error.to_string()))?;
        if let Some((_, place)) = self.0.iter_mut().find(|(name, _)| name == key) {
            *place = raw;
        }
        Ok(())
    }
}

fn object(raw: &RawValue, what: &str) -> Result<Members, Unreadable> {
    serde_json::from_str(raw.get()).map_err(|_| Unreadable(format!("{what}: expected an object")))
}

fn check_id(id: &RawValue) -> Result<(), Unreadable> {
    let expected = "id: expected a text, or a whole number of 64 bits";
    if id.get().len() > MAX_ID_BYTES {
        return refuse(format!("id: expected at most {MAX_ID_BYTES} bytes"));
    }
    match serde_json::from_str(id.get()) {
        Ok(Value::String(text)) if text.starts_with(OUR_ID) => refuse(format!("id: expected one without {OUR_ID} before it")),
        Ok(Value::String(_)) => Ok(()),
        Ok(Value::Number(number)) if number.is_i64() || number.is_u64() => Ok(()),
        _ => refuse(expected),
    }
}

/// Refuses whole numbers that do not fit into 64 bits: some servers cut them, others do not.
fn check_numbers(text: &str) -> Result<(), Unreadable> {
    let mut is_in_text = false;
    let mut letters = text.char_indices().peekable();
    while let Some((start, letter)) = letters.next() {
        match letter {
            '\\' if is_in_text => drop(letters.next()),
            '"' => is_in_text = !is_in_text,
            '-' | '0'..='9' if !is_in_text => {
                let mut end = start.saturating_add(1);
                while let Some((_, next)) = letters.next_if(|(_, next)| next.is_ascii_alphanumeric() || "+-.".contains(*next)) {
                    end = end.saturating_add(next.len_utf8());
                }
                let number = text.get(start..end).unwrap_or_default();
                let is_whole = !number.contains(['.', 'e', 'E']);
                if is_whole && number.parse::<i64>().is_err() && number.parse::<u64>().is_err() {
                    return refuse("the body: expected whole numbers of 64 bits, got a larger one; send it as a text");
                }
            }
            _ => {}
        }
    }
    Ok(())
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Members;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Reader)
    }
}

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> String {
        let read = Message::read(body.as_bytes()).and_then(Message::call);
        read.err().unwrap_or_else(|| panic!("it was read: {body}")).to_string()
    }

    fn call(body: &str) -> Call {
        Message::read(body.as_bytes()).unwrap().call().unwrap().unwrap_or_else(|_| panic!("no call"))
    }

    fn of_params(params: &str) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#)
    }

    #[test]
    fn what_two_servers_could_read_differently_is_refused_with_the_reason() {
        for (body, why) in [
            ("", "expected JSON"),
            ("7", "expected an object"),
            ("\u{feff}{}", "expected JSON"),
            ("{\"a\":", "expected JSON"),
            ("[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}]", "got a list"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}"#, "\"method\" twice"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","m\u0065thod":"tools/call"}"#, "\"method\" twice"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}"#, "\"Method\": expected a message"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","PARAMS":{}}"#, "\"PARAMS\""),
            (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, "jsonrpc: expected"),
            (r#"{"id":1,"method":"ping"}"#, "jsonrpc: expected"),
            (r#"{"jsonrpc":"2.0","id":1}"#, "expected a method"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#, "expected a method, or else"),
            (r#"{"jsonrpc":"2.0","id":1,"method":["ping"]}"#, "method: expected a text"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#, "params: expected an object"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"\ud800"}"#, "expected JSON"),
            (&of_params(r#"{"name":"a","arguments":{"n":1e999}}"#), "expected JSON"),
            (&of_params(r#"{"name":"a","arguments":{"n":18446744073709551616}}"#), "64 bits"),
            (&of_params(r#"{"name":"a","arguments":{"n":-9223372036854775809}}"#), "64 bits"),
            (&of_params(r#"{"name":"a","arguments":[]}"#), "params.arguments: expected an object"),
            (&of_params(r#"{"name":"a","arguments":{"x":1,"x":2}}"#), "\"x\" twice"),
            (&of_params(r#"{"name":"a","Name":"b"}"#), "params.Name: expected name"),
            (&of_params("{\"name\":\"a\",\"tas\u{212A}\":{}}"), "expected task"),
            (&of_params(r#"{"name":1}"#), "name: expected a text"),
            (&of_params(r#"{"name":""}"#), "params.name: expected 1 to"),
            (&of_params("{}"), "params.name: expected a text"),
            (&of_params(r#"{"name":"a","_meta":7}"#), "params._meta: expected an object"),
            (r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"a"}}"#, "without an answer"),
        ] {
            let got = refused(body);
            assert!(got.contains(why), "{body}\ngot {got}\nlacks {why}");
        }
        let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
        assert!(refused(&of_params(&format!("{{\"name\":\"a\",\"arguments\":{{\"x\":{deep}}}}}"))).contains("32 levels"));
    }

    #[test]
    fn an_id_is_a_text_or_a_whole_number_and_not_one_of_ours() {
        let message = |id: &str| Message::read(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#).as_bytes());
        for good in ["0", "-1", "18446744073709551615", "\"\"", "\"a\\u0062\"", "\"7\""] {
            assert_eq!(message(good).unwrap().id.unwrap().get(), good);
        }
        let long = format!("\"{}\"", "a".repeat(300));
        for bad in ["null", "true", "1.5", "1.0", "1e3", "[]", "{}", "\"farthing-1\"", "\"f\\u0061rthing-1\"", &long] {
            assert!(message(bad).is_err_and(|error| error.to_string().starts_with("id: ")), "{bad}");
        }
    }

    #[test]
    fn a_call_goes_on_as_it_was_understood_and_without_its_payment() {
        let body = of_params(
            "{ \"n\\u0061me\" : \"se\\u0061rch\", \"arguments\": { \"q\" : \"\\u0062\", \"n\": 1.50 }, \
             \"_meta\": {\"progressToken\": 3, \"x402/payment\": {\"x402Version\": 2}}, \"more\": true }",
        );
        let call = call(&body);
        assert_eq!((call.kind, call.name.as_str(), call.id.get()), (Kind::Tool, "search", "1"));
        assert_eq!(call.payment.as_ref().unwrap().get(), "{\"x402Version\": 2}");
        let text = |bytes: Result<Vec<u8>, serde_json::Error>| String::from_utf8(bytes.unwrap()).unwrap();
        assert_eq!(
            text(call.forwarded(&to_raw_value("farthing-x").unwrap())),
            "{\"jsonrpc\":\"2.0\",\"id\":\"farthing-x\",\"method\":\"tools/call\",\"params\":{\"name\":\"search\",\
             \"arguments\":{ \"q\" : \"\\u0062\", \"n\": 1.50 },\"_meta\":{\"progressToken\":3},\"more\":true}}"
        );
        assert_eq!(
            text(call.bought()),
            "{\"method\":\"tools/call\",\"name\":\"search\",\"arguments\":{ \"q\" : \"\\u0062\", \"n\": 1.50 }}"
        );
    }

    #[test]
    fn what_calls_nothing_by_name_is_told_apart() {
        for body in [
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            r#"{"jsonrpc":"2.0","id":"a","result":{}}"#,
        ] {
            assert!(Message::read(body.as_bytes()).unwrap().call().unwrap().is_err(), "{body}");
        }
    }
}
