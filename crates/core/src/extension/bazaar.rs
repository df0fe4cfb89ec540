//! `bazaar`: how something that is sold is asked for and what comes back, so that catalogues can list it and agents can use it.
//!
//! The server declares it in its terms; a client echoes it with its payment, and a facilitator that keeps a catalogue reads it
//! there. `schema` describes `info` itself, in JSON Schema of 2020-12. Examples and schemas are the seller's words: nobody is held to them here.

use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The extension's key.
pub const KEY: &str = "bazaar";
/// The most bytes of a declaration: it travels in a header, both ways.
pub const MAX_BYTES: usize = 4 * 1024;
/// The dialect of every schema.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// How a resource of HTTP is asked for. Of what is sent there is an example and a schema, as far as they are given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listing {
    /// Parameters of the query, by example.
    pub query: Option<Map<String, Value>>,
    /// What they may be: an object of a JSON Schema, with `properties`.
    pub query_schema: Option<Map<String, Value>>,
    /// The body, by example.
    pub body: Option<Map<String, Value>>,
    /// What it may be.
    pub body_schema: Option<Map<String, Value>>,
    /// The form of the body; JSON, unless set.
    pub body_type: Option<BodyType>,
    /// Parameters of the path, by example.
    pub path: Option<Map<String, Value>>,
    /// What they may be.
    pub path_schema: Option<Map<String, Value>>,
    /// What comes back, by example.
    pub output: Option<Value>,
    /// What it may be.
    pub output_schema: Option<Map<String, Value>>,
}

/// The form of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BodyType {
    /// JSON.
    Json,
    /// A form of several parts.
    FormData,
    /// Plain text.
    Text,
}

/// How a tool of an MCP server is called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ToolListing {
    /// The schema of its arguments, as the server has it.
    pub input_schema: Map<String, Value>,
    /// Its arguments, by example.
    pub input: Option<Map<String, Value>>,
    /// What comes back, by example.
    pub output: Option<Value>,
    /// What it may be.
    pub output_schema: Option<Map<String, Value>>,
}

/// Why nothing can be declared so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BazaarError {
    /// A method that catalogues do not know.
    #[error(
        "bazaar: expected a route for one of GET, HEAD, DELETE, POST, PUT and PATCH alone, got {0}; give each method a route"
    )]
    Method(String),
    /// A body where none is sent.
    #[error("bazaar: {0} has no body; describe query instead")]
    NoBody(String),
    /// The query where a body is sent.
    #[error("bazaar: of {0} catalogues read the body; describe body instead of query")]
    NoQuery(String),
    /// A reference that somebody else would have to follow.
    #[error("bazaar: a schema may only refer to itself; expected $ref and $id to begin with #")]
    Reference,
    /// A path that catalogues do not take.
    #[error("bazaar: {0} is no path that catalogues take: letters, digits and _ : . - ~ alone, without ..")]
    Template(String),
    /// Too much for a header.
    #[error("bazaar: expected at most {MAX_BYTES} bytes, because it travels in a header, got {0}; shorten examples or schemas")]
    TooLarge(usize),
}

/// What the terms declare of a resource that is asked for by this method; with a path such as `/reports/:id`, if it has gaps.
pub fn http(listing: &Listing, method: &str, route_template: Option<&str>) -> Result<Value, BazaarError> {
    let has_body = match method {
        "GET" | "HEAD" | "DELETE" => false,
        "POST" | "PUT" | "PATCH" => true,
        other => return Err(BazaarError::Method(other.to_owned())),
    };
    let (asks_body, asks_query) = (
        listing.body.is_some() || listing.body_schema.is_some() || listing.body_type.is_some(),
        listing.query.is_some() || listing.query_schema.is_some(),
    );
    match has_body {
        true if asks_query => return Err(BazaarError::NoQuery(method.to_owned())),
        false if asks_body => return Err(BazaarError::NoBody(method.to_owned())),
        _ => {}
    }
    let mut input = Parts::new(["type", "method"]);
    input.put("type", "http".into(), json!({"type": "string", "const": "http"}));
    input.put("method", method.into(), json!({"type": "string", "enum": [method]}));
    if has_body {
        let form = listing.body_type.unwrap_or(BodyType::Json).as_str();
        input.put("bodyType", form.into(), json!({"type": "string", "enum": ["json", "form-data", "text"]}));
        input.put("body", object(listing.body.as_ref()), schema_of(listing.body_schema.as_ref()));
        input.required.extend(["bodyType", "body"]);
    } else {
        input.put("queryParams", object(listing.query.as_ref()), schema_of(listing.query_schema.as_ref()));
    }
    if route_template.is_some() || listing.path.is_some() {
        input.put("pathParams", object(listing.path.as_ref()), schema_of(listing.path_schema.as_ref()));
    }
    let mut declared = declaration(&input, listing.output.as_ref(), listing.output_schema.as_ref())?;
    if let (Some(template), Value::Object(members)) = (route_template, &mut declared) {
        check_template(template)?;
        members.insert("routeTemplate".to_owned(), template.into());
    }
    fits(declared)
}

/// What the terms declare of a tool.
pub fn tool(listing: &ToolListing, name: &str, description: Option<&str>) -> Result<Value, BazaarError> {
    let mut input = Parts::new(["type", "toolName", "inputSchema"]);
    input.put("type", "mcp".into(), json!({"type": "string", "const": "mcp"}));
    input.put("toolName", name.into(), json!({"type": "string"}));
    if let Some(description) = description {
        input.put("description", description.into(), json!({"type": "string"}));
    }
    input.put("transport", "streamable-http".into(), json!({"type": "string", "enum": ["streamable-http"]}));
    input.put("inputSchema", schema_of(Some(&listing.input_schema)), json!({"type": "object"}));
    if let Some(example) = &listing.input {
        input.put("example", Value::Object(example.clone()), json!({"type": "object"}));
    }
    fits(declaration(&input, listing.output.as_ref(), listing.output_schema.as_ref())?)
}

/// An object and the schema of it, which grow together.
struct Parts {
    info: Map<String, Value>,
    properties: Map<String, Value>,
    required: Vec<&'static str>,
}

impl Parts {
    fn new<const N: usize>(required: [&'static str; N]) -> Self {
        Self { info: Map::new(), properties: Map::new(), required: required.to_vec() }
    }

    fn put(&mut self, key: &str, value: Value, schema: Value) {
        self.info.insert(key.to_owned(), value);
        self.properties.insert(key.to_owned(), schema);
    }
}

impl BodyType {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::FormData => "form-data",
            Self::Text => "text",
        }
    }
}

fn declaration(
    input: &Parts,
    output: Option<&Value>,
    output_schema: Option<&Map<String, Value>>,
) -> Result<Value, BazaarError> {
    let mut info = json!({"input": input.info});
    let described = json!({
        "type": "object", "properties": input.properties, "required": input.required, "additionalProperties": false,
    });
    let mut properties = json!({"input": described});
    if let (Some(example), Value::Object(info), Value::Object(properties)) = (output, &mut info, &mut properties) {
        info.insert("output".to_owned(), json!({"type": "json", "example": example}));
        let example = output_schema.map_or_else(|| json!({}), |schema| Value::Object(schema.clone()));
        let described =
            json!({"type": "object", "properties": {"type": {"type": "string"}, "example": example}, "required": ["type"]});
        properties.insert("output".to_owned(), described);
    }
    let schema = json!({"$schema": DIALECT, "type": "object", "properties": properties, "required": ["input"]});
    if leads_away(&schema) {
        return Err(BazaarError::Reference);
    }
    Ok(json!({"info": info, "schema": schema}))
}

fn fits(declared: Value) -> Result<Value, BazaarError> {
    let bytes = declared.to_string().len();
    if bytes > MAX_BYTES { Err(BazaarError::TooLarge(bytes)) } else { Ok(declared) }
}

fn object(example: Option<&Map<String, Value>>) -> Value {
    Value::Object(example.cloned().unwrap_or_default())
}

/// A schema of an object, whether or not it says so.
fn schema_of(schema: Option<&Map<String, Value>>) -> Value {
    let mut schema = schema.cloned().unwrap_or_default();
    schema.entry("type").or_insert_with(|| "object".into());
    Value::Object(schema)
}

/// Whether somebody who follows a schema would have to ask elsewhere.
fn leads_away(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => members.iter().any(|(key, value)| {
            let is_reference = matches!(key.as_str(), "$ref" | "$id");
            (is_reference && !value.as_str().is_some_and(|text| text.starts_with('#'))) || leads_away(value)
        }),
        Value::Array(list) => list.iter().any(leads_away),
        _ => false,
    }
}

fn check_template(template: &str) -> Result<(), BazaarError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/_:.-~".contains(&byte);
    let is_good = template.len() > 1 && template.starts_with('/') && template.bytes().all(is_plain);
    if is_good && !template.contains("..") && !template.contains("://") {
        Ok(())
    } else {
        Err(BazaarError::Template(template.chars().take(200).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(value: Value) -> Listing {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_is_sent_and_what_comes_back_is_described() {
        let weather = listing(json!({
            "query": {"city": "Berlin"},
            "query_schema": {"properties": {"city": {"type": "string"}}, "required": ["city"]},
            "output": {"rain": true},
        }));
        let declared = http(&weather, "GET", None).unwrap();
        assert_eq!(declared["info"]["input"], json!({"type": "http", "method": "GET", "queryParams": {"city": "Berlin"}}));
        assert_eq!(declared["info"]["output"], json!({"type": "json", "example": {"rain": true}}));
        let schema = &declared["schema"]["properties"]["input"];
        assert_eq!(schema["properties"]["queryParams"]["type"], "object");
        assert_eq!(schema["required"], json!(["type", "method"]));
        let posted = http(&listing(json!({"body": {"a": 1}, "body_type": "form-data"})), "POST", None).unwrap();
        assert_eq!(posted["info"]["input"]["bodyType"], "form-data");
        let gaps = http(&listing(json!({"path": {"id": "7"}})), "GET", Some("/reports/:id")).unwrap();
        assert_eq!(
            (&gaps["routeTemplate"], &gaps["info"]["input"]["pathParams"]),
            (&json!("/reports/:id"), &json!({"id": "7"}))
        );
    }

    #[test]
    fn a_tool_is_described_by_its_name_and_its_arguments() {
        let tool_listing =
            ToolListing { input_schema: Map::from_iter([("properties".to_owned(), json!({}))]), ..ToolListing::default() };
        let declared = tool(&tool_listing, "search", Some("Finds")).unwrap();
        let input = &declared["info"]["input"];
        assert_eq!(
            (&input["type"], &input["toolName"], &input["description"]),
            (&json!("mcp"), &json!("search"), &json!("Finds"))
        );
        assert_eq!(input["inputSchema"], json!({"type": "object", "properties": {}}));
    }

    #[test]
    fn what_no_catalogue_takes_is_refused_with_what_to_do() {
        let refused = |value: Value, method: &str, template: Option<&str>| {
            http(&listing(value), method, template).unwrap_err().to_string()
        };
        assert!(refused(json!({}), "PROPFIND", None).contains("got PROPFIND"));
        assert!(refused(json!({"body": {}}), "GET", None).contains("describe query"));
        assert!(refused(json!({"query": {}}), "POST", None).contains("describe body"));
        assert!(refused(json!({"query_schema": {"$ref": "https://evil.example"}}), "GET", None).contains("refer to itself"));
        assert!(refused(json!({"output": {"a": "b".repeat(5_000)}}), "GET", None).contains("at most 4096 bytes"));
        for template in ["", "/", "a", "/a/../b", "/a b", "/a%2f"] {
            assert!(http(&Listing::default(), "GET", Some(template)).is_err(), "{template}");
        }
        assert!(http(&listing(json!({"query_schema": {"$ref": "#/a"}})), "GET", None).is_ok());
    }
}
