//! JSON text with holes: a route's terms are written once, at start-up, and each answer only fills in what is its own.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::Value;

/// What differs from answer to answer, or is set after the terms were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hole {
    Url,
    Error,
    Description,
    MimeType,
}

/// Characters that Unicode leaves to private agreement, and that serde writes as they are; each marks a hole.
const MARKS: [(char, Hole); 4] =
    [('\u{E000}', Hole::Url), ('\u{E001}', Hole::Error), ('\u{E002}', Hole::Description), ('\u{E003}', Hole::MimeType)];

/// What goes into the holes, as plain text.
#[derive(Clone, Copy)]
pub(crate) struct Fill<'a> {
    pub(crate) url: &'a str,
    pub(crate) error: &'a str,
    pub(crate) description: &'a str,
    pub(crate) mime_type: &'a str,
}

/// The fill that makes a message into a template.
pub(crate) const HOLES: Fill<'static> =
    Fill { url: "\u{E000}", error: "\u{E001}", description: "\u{E002}", mime_type: "\u{E003}" };

/// A message's JSON text, cut at its holes.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    start: String,
    rest: Vec<(Hole, String)>,
}

impl Template {
    /// The template of a message in which [`HOLES`] stand for what is filled in later.
    pub(crate) fn of(message: &impl Serialize) -> Result<Self, serde_json::Error> {
        let text = serde_json::to_string(message)?;
        let mut template = Self { start: String::new(), rest: Vec::new() };
        for letter in text.chars() {
            match MARKS.iter().find(|(mark, _)| *mark == letter) {
                Some((_, hole)) => template.rest.push((*hole, String::new())),
                None => template.rest.last_mut().map_or(&mut template.start, |(_, after)| after).push(letter),
            }
        }
        Ok(template)
    }

    /// The message's JSON text with the holes filled.
    pub(crate) fn render(&self, fill: &Fill<'_>) -> String {
        let escaped = Fill {
            url: &escape(fill.url),
            error: &escape(fill.error),
            description: &escape(fill.description),
            mime_type: &escape(fill.mime_type),
        };
        let length = self.rest.iter().map(|(hole, after)| escaped.of(*hole).len() + after.len()).sum::<usize>();
        let mut text = String::with_capacity(self.start.len() + length);
        text.push_str(&self.start);
        for (hole, after) in &self.rest {
            text.push_str(escaped.of(*hole));
            text.push_str(after);
        }
        text
    }
}

impl<'a> Fill<'a> {
    const fn of(&self, hole: Hole) -> &'a str {
        match hole {
            Hole::Url => self.url,
            Hole::Error => self.error,
            Hole::Description => self.description,
            Hole::MimeType => self.mime_type,
        }
    }
}

/// Whether a text has a character that would be taken for a hole.
pub(crate) fn has_mark(text: &str) -> bool {
    text.contains(MARKS.map(|(mark, _)| mark))
}

/// A text as it stands between the quotes of a JSON string.
fn escape(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        let quoted = Value::from(text).to_string();
        let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        Cow::Owned(inner.unwrap_or_default().to_owned())
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn holes_are_filled_with_escaped_text() {
        let template =
            Template::of(&json!([HOLES.url, {"d": HOLES.description, "m": HOLES.mime_type}, HOLES.error, HOLES.url]));
        let fill = Fill { url: "a\"b\\c\n\u{1}é", error: "", description: "d", mime_type: "m" };
        let text = template.unwrap().render(&fill);
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read, json!([fill.url, {"d": "d", "m": "m"}, "", fill.url]));
    }

    #[test]
    fn marks_in_a_fill_stay_text() {
        let template = Template::of(&json!([HOLES.url])).unwrap();
        let fill = Fill { url: HOLES.error, error: "never", description: "", mime_type: "" };
        assert_eq!(template.render(&fill), format!("[\"{}\"]", HOLES.error));
    }
}
