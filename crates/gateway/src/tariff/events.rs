//! Documents of JSON in an answer: one, or one after the other.

use serde_json::Value;

use super::source::Pointer;

/// How an answer holds JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// All of it is one document.
    One,
    /// Server-sent events, each with a document as its data.
    Events,
    /// A document on each line.
    Lines,
}

impl Form {
    /// By the media type; what says nothing is one document.
    pub(super) fn of(media_type: &str) -> Self {
        let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "text/event-stream" => Self::Events,
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/jsonlines" => Self::Lines,
            _ => Self::One,
        }
    }

    /// What a pointer finds in the last document that has it.
    pub(super) fn last(self, text: &str, pointer: &Pointer) -> Option<Value> {
        let find =
            |document: &str| pointer.find(&serde_json::from_str(document).ok()?).filter(|value| !value.is_null()).cloned();
        match self {
            Self::One => find(text),
            Self::Lines => text.lines().rev().find_map(find),
            Self::Events => {
                let events = data_of_events(text);
                events.iter().rev().find_map(|data| find(data))
            }
        }
    }
}

/// The data of each event, as the standard for `EventSource` reads a stream. An event that breaks off at the end counts: its
/// upstream has done the work.
fn data_of_events(text: &str) -> Vec<String> {
    let mut events = Vec::new();
    let mut data: Option<String> = None;
    for line in lines(text.strip_prefix('\u{FEFF}').unwrap_or(text)) {
        if line.is_empty() {
            events.extend(data.take());
        } else if let Some(value) = line.strip_prefix("data:").or_else(|| (line == "data").then_some("")) {
            let value = value.strip_prefix(' ').unwrap_or(value);
            data = Some(data.map_or_else(|| value.to_owned(), |before| [&*before, "\n", value].concat()));
        }
    }
    events.extend(data);
    events
}

/// Lines that end in LF, CR or both.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tariff::Source;
    use serde_json::json;

    fn last(form: Form, text: &str) -> Option<Value> {
        let Source::Response(pointer) = "response:/usage/total_tokens".parse().unwrap() else { unreachable!() };
        form.last(text, &pointer)
    }

    #[test]
    fn the_media_type_says_how_an_answer_holds_json() {
        assert_eq!(Form::of("text/event-stream; charset=utf-8"), Form::Events);
        assert_eq!(Form::of("Application/X-NDJSON"), Form::Lines);
        assert_eq!(Form::of("application/json"), Form::One);
        assert_eq!(Form::of(""), Form::One);
    }

    #[test]
    fn the_last_event_that_has_it_counts() {
        let stream = "\u{FEFF}: hello\nevent: chunk\ndata: {\"usage\":null}\n\ndata:{\"usage\":\ndata: {\"total_tokens\":7}}\n\nid: 1\r\n\
                      data: {\"usage\":{\"total_tokens\":12}}\r\n\r\ndata: {\"other\":1}\n\ndata: [DONE]\n\n";
        assert_eq!(last(Form::Events, stream), Some(json!(12)));
        assert_eq!(last(Form::Events, "data: {\"usage\":{\"total_tokens\":3}}\rdata: 4\r"), None, "two lines of one event");
        assert_eq!(last(Form::Events, "data: {\"usage\":{\"total_tokens\":3}}"), Some(json!(3)));
        assert_eq!(last(Form::Events, "data: [DONE]\n\n"), None);
    }

    #[test]
    fn the_last_line_that_has_it_counts() {
        let lines = "{\"usage\":{\"total_tokens\":1}}\n{\"usage\":{\"total_tokens\":2}}\n{\"done\":true}\n";
        assert_eq!(last(Form::Lines, lines), Some(json!(2)));
        assert_eq!(last(Form::One, "{\"usage\":{\"total_tokens\":2.5}}"), Some(json!(2.5)));
        assert_eq!(last(Form::One, lines), None);
    }
}
