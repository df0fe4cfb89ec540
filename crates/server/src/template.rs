//! JSON text with holes: a route's terms are written once, at start-up, and each answer only fills in what is its own.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::Value;

use crate::route::MAX_OFFERS;

/// What differs from answer to answer, or is set after the terms were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hole {
    Url,
    Error,
    Description,
    MimeType,
    SignInUri,
    Nonce,
    IssuedAt,
    ExpirationTime,
    /// JSON in the place of a string.
    Offers,
    /// The quote of the offer in that place.
    Quote(usize),
}

/// Characters that Unicode leaves to private agreement, and that serde writes as they are; each marks a hole.
const MARKS: [(char, Hole); 9] = [
    ('\u{E000}', Hole::Url),
    ('\u{E001}', Hole::Error),
    ('\u{E002}', Hole::Description),
    ('\u{E003}', Hole::MimeType),
    ('\u{E004}', Hole::SignInUri),
    ('\u{E005}', Hole::Nonce),
    ('\u{E006}', Hole::IssuedAt),
    ('\u{E007}', Hole::ExpirationTime),
    ('\u{E008}', Hole::Offers),
];

/// The mark of the first offer's quote; those of the others follow, as many as a route can have offers.
const FIRST_QUOTE_MARK: u32 = 0xE010;

/// What goes into the holes, as plain text; but `offers` is JSON.
#[derive(Clone, Copy)]
pub(crate) struct Fill<'a> {
    pub(crate) url: &'a str,
    pub(crate) error: &'a str,
    pub(crate) description: &'a str,
    pub(crate) mime_type: &'a str,
    pub(crate) sign_in_uri: &'a str,
    pub(crate) nonce: &'a str,
    pub(crate) issued_at: &'a str,
    pub(crate) expiration_time: &'a str,
    pub(crate) offers: &'a str,
    pub(crate) quotes: &'a [String],
}

/// The fill that makes a message into a template.
pub(crate) const HOLES: Fill<'static> = Fill {
    url: "\u{E000}",
    error: "\u{E001}",
    description: "\u{E002}",
    mime_type: "\u{E003}",
    sign_in_uri: "\u{E004}",
    nonce: "\u{E005}",
    issued_at: "\u{E006}",
    expiration_time: "\u{E007}",
    offers: "\u{E008}",
    quotes: &[],
};

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
            let is_json = template.rest.last().is_some_and(|(hole, after)| *hole == Hole::Offers && after.is_empty());
            let last = template.rest.last_mut().map_or(&mut template.start, |(_, after)| after);
            match hole_of(letter) {
                Some(hole) => {
                    // JSON comes in the place of the whole string, quotes and all.
                    if hole == Hole::Offers {
                        last.pop();
                    }
                    template.rest.push((hole, String::new()));
                }
                None if is_json && letter == '"' => {}
                None => last.push(letter),
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
            sign_in_uri: &escape(fill.sign_in_uri),
            nonce: &escape(fill.nonce),
            issued_at: &escape(fill.issued_at),
            expiration_time: &escape(fill.expiration_time),
            offers: fill.offers,
            quotes: fill.quotes,
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
    fn of(&self, hole: Hole) -> &'a str {
        match hole {
            Hole::Url => self.url,
            Hole::Error => self.error,
            Hole::Description => self.description,
            Hole::MimeType => self.mime_type,
            Hole::SignInUri => self.sign_in_uri,
            Hole::Nonce => self.nonce,
            Hole::IssuedAt => self.issued_at,
            Hole::ExpirationTime => self.expiration_time,
            Hole::Offers => self.offers,
            // Quotes have nothing in them that JSON would escape.
            Hole::Quote(index) => self.quotes.get(index).map_or("", String::as_str),
        }
    }
}

/// Whether a text has a character that would be taken for a hole.
pub(crate) fn has_mark(text: &str) -> bool {
    text.contains(|letter| hole_of(letter).is_some())
}

/// What stands for the quote of the offer in that place.
pub(crate) fn quote_hole(index: usize) -> String {
    let place = u32::try_from(index).ok().filter(|_| index < MAX_OFFERS);
    place.and_then(|place| char::from_u32(FIRST_QUOTE_MARK + place)).map(String::from).unwrap_or_default()
}

fn hole_of(letter: char) -> Option<Hole> {
    let place = u32::from(letter).checked_sub(FIRST_QUOTE_MARK).and_then(|place| usize::try_from(place).ok());
    match place.filter(|place| *place < MAX_OFFERS) {
        Some(place) => Some(Hole::Quote(place)),
        None => MARKS.iter().find(|(mark, _)| *mark == letter).map(|(_, hole)| *hole),
    }
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

    /// A fill of nothing, where JSON is needed of `null`.
    const NOTHING: Fill<'static> = Fill {
        url: "",
        error: "",
        description: "",
        mime_type: "",
        sign_in_uri: "",
        nonce: "",
        issued_at: "",
        expiration_time: "",
        offers: "null",
        quotes: &[],
    };

    #[test]
    fn holes_are_filled_with_escaped_text() {
        let template =
            Template::of(&json!([HOLES.url, {"d": HOLES.description, "m": HOLES.mime_type}, HOLES.error, HOLES.url]));
        let fill = Fill { url: "a\"b\\c\n\u{1}é", description: "d", mime_type: "m", ..NOTHING };
        let text = template.unwrap().render(&fill);
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read, json!([fill.url, {"d": "d", "m": "m"}, "", fill.url]));
    }

    #[test]
    fn a_challenge_is_filled_in_and_json_comes_in_the_place_of_its_whole_string() {
        let holes = json!({"o": HOLES.offers, "s": [HOLES.sign_in_uri, HOLES.nonce, HOLES.issued_at, HOLES.expiration_time]});
        let template = Template::of(&holes).unwrap();
        let fill =
            Fill { offers: r#"{"a":["\""]}"#, sign_in_uri: "u", nonce: "n", issued_at: "i", expiration_time: "e", ..NOTHING };
        let read: Value = serde_json::from_str(&template.render(&fill)).unwrap();
        assert_eq!(read, json!({"o": {"a": ["\""]}, "s": ["u", "n", "i", "e"]}));
        let template = Template::of(&json!([HOLES.offers, "", HOLES.offers])).unwrap();
        assert_eq!(template.render(&NOTHING), r#"[null,"",null]"#);
    }

    #[test]
    fn every_offer_has_a_hole_of_its_own_for_its_quote() {
        let holes: Vec<String> = (0..MAX_OFFERS).map(quote_hole).collect();
        let quotes: Vec<String> = (0..MAX_OFFERS).map(|index| format!("quote {index}")).collect();
        let text = Template::of(&holes).unwrap().render(&Fill { quotes: &quotes, ..NOTHING });
        assert_eq!(serde_json::from_str::<Vec<String>>(&text).unwrap(), quotes);
        assert!(has_mark(&quote_hole(MAX_OFFERS - 1)) && quote_hole(MAX_OFFERS).is_empty());
    }

    #[test]
    fn marks_in_a_fill_stay_text() {
        let template = Template::of(&json!([HOLES.url])).unwrap();
        let fill = Fill { url: HOLES.error, error: "never", ..NOTHING };
        assert_eq!(template.render(&fill), format!("[\"{}\"]", HOLES.error));
    }
}
