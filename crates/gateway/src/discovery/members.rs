//! Members of JSON objects that are built step by step. What is no object becomes one.

use serde_json::{Map, Value};

/// Sets a member.
pub(super) fn set(object: &mut Value, key: &str, value: impl Into<Value>) {
    *inside(object, key) = value.into();
}

/// A member, to be looked into; an object without members, if it is not there.
pub(super) fn inside<'a>(object: &'a mut Value, key: &str) -> &'a mut Value {
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    match object {
        Value::Object(members) => members.entry(key).or_insert_with(|| Value::Object(Map::new())),
        other => other,
    }
}
