//! Which requests a route is for: `GET|POST /reports/*`.
//!
//! | in a pattern | is |
//! |---|---|
//! | no method | every method |
//! | `GET` | GET and HEAD |
//! | `*`, `{name}` | one segment |
//! | `*.csv`, `report-*` | one segment that begins and ends so |
//! | `**`, at the end | all that follows, or nothing |
//!
//! Patterns are matched on the path with its encodings undone, and a slash at the end makes no difference. What costs money or
//! is denied is matched whatever the letter case, because to some servers it makes none; what is free, letter by letter. So a
//! path in another spelling never costs less.

use std::fmt;
use std::str::FromStr;

use http::Method;

/// The longest pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 1_024;

/// A method or several, and a path with gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    /// Every one, if empty.
    methods: Vec<Method>,
    segments: Vec<Segment>,
    /// The same in one letter case.
    folded: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Exactly(String),
    Around(String, String),
    One,
    Rest,
}

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// No path in it.
    #[error(
        "match: expected a path such as \"/reports/*\", with methods before it or without, such as \"GET|POST /reports/*\""
    )]
    NoPath,
    /// What stands before the path.
    #[error("match: expected methods in capitals with | between them, such as GET|POST")]
    Method,
    /// No request has such a path.
    #[error("match: expected a path without empty or dot segments, query, fragment, ; or percent-encoding")]
    Path,
    /// A gap that is none.
    #[error("match: * is one segment or a part of it, once a segment; {{name}} is a segment of its own; ** stands at the end")]
    Gap,
    /// Longer than any route needs.
    #[error("match: expected at most {MAX_PATTERN_BYTES} bytes")]
    TooLong,
}

/// A path that is matched, in both forms.
pub(crate) struct Spelled {
    exact: String,
    folded: String,
}

impl Spelled {
    pub(crate) fn new(decoded: &str) -> Self {
        Self { exact: decoded.to_owned(), folded: fold(decoded) }
    }
}

impl Pattern {
    /// Whether it is for such a request, whatever the letter case.
    pub(crate) fn is_like(&self, method: &Method, path: &Spelled) -> bool {
        self.is_for(method) && is_path(&self.folded, &path.folded)
    }

    /// Whether it is for such a request, letter by letter.
    pub(crate) fn is_exactly(&self, method: &Method, path: &Spelled) -> bool {
        self.is_for(method) && is_path(&self.segments, &path.exact)
    }

    /// Its methods; every one, if there are none.
    pub(crate) fn methods(&self) -> &[Method] {
        &self.methods
    }

    /// The same with the methods of sessions beside POST; `None` if it is not for POST.
    pub(crate) fn with_sessions(mut self) -> Option<Self> {
        if !self.is_for(&Method::POST) {
            return None;
        }
        if !self.methods.is_empty() {
            for method in [Method::GET, Method::DELETE] {
                if !self.methods.contains(&method) {
                    self.methods.push(method);
                }
            }
        }
        Some(self)
    }

    /// Its path as it was written, gaps and all.
    pub(crate) fn path(&self) -> &str {
        self.text.split_whitespace().last().unwrap_or("/")
    }

    /// The path with its gaps as `:name`, as catalogues write it; `None` without a gap. What stands for a part of a segment, or
    /// for several, is left as it is.
    pub(crate) fn template(&self) -> Option<String> {
        let mut count = 0_usize;
        let named = |segment: &str| {
            if segment == "*" {
                count = count.saturating_add(1);
                return format!(":part{count}");
            }
            let name = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            name.map_or_else(|| segment.to_owned(), |name| format!(":{name}"))
        };
        let has_gaps = self.segments.iter().any(|segment| !matches!(segment, Segment::Exactly(_)));
        has_gaps.then(|| self.path().split('/').map(named).collect::<Vec<_>>().join("/"))
    }

    /// Whether it names this very path, without a gap.
    pub(crate) fn names(&self, path: &Spelled) -> bool {
        self.segments.iter().all(|segment| matches!(segment, Segment::Exactly(_))) && is_path(&self.folded, &path.folded)
    }

    /// Whether it is for every request that the other one is for, as far as that can be seen.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let has = |method: &Method| self.is_for(method);
        let has_methods = self.methods.is_empty() || (!other.methods.is_empty() && other.methods.iter().all(has));
        has_methods && covers(&self.segments, &other.segments)
    }

    /// Whether it is for requests by that method.
    pub(crate) fn is_for(&self, method: &Method) -> bool {
        let has = |method: &Method| self.methods.contains(method);
        self.methods.is_empty() || has(method) || (method == Method::HEAD && has(&Method::GET))
    }
}

fn is_path(segments: &[Segment], path: &str) -> bool {
    let path = path.trim_start_matches('/');
    let path = path.strip_suffix('/').unwrap_or(path);
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    for segment in segments {
        if *segment == Segment::Rest {
            return true;
        }
        if !parts.next().is_some_and(|part| segment.is(part)) {
            return false;
        }
    }
    parts.next().is_none()
}

fn covers(ours: &[Segment], theirs: &[Segment]) -> bool {
    match (ours, theirs) {
        ([Segment::Rest], _) | ([], []) => true,
        ([ours, our_rest @ ..], [theirs, their_rest @ ..]) => ours.covers(theirs) && covers(our_rest, their_rest),
        _ => false,
    }
}

impl Segment {
    fn is(&self, part: &str) -> bool {
        match self {
            Self::Exactly(text) => text == part,
            Self::Around(before, after) => part
                .strip_prefix(before.as_str())
                .is_some_and(|rest| rest.len() >= after.len() && rest.ends_with(after.as_str())),
            Self::One | Self::Rest => true,
        }
    }

    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::One, Self::Rest) => false,
            (Self::One, _) => true,
            (_, Self::Exactly(text)) => self.is(text),
            _ => self == other,
        }
    }

    fn parse(text: &str, is_last: bool) -> Result<Self, PatternError> {
        match text {
            "**" if is_last => return Ok(Self::Rest),
            "*" => return Ok(Self::One),
            "" | "." | ".." => return Err(PatternError::Path),
            _ => {}
        }
        if let Some(name) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            return if is_name { Ok(Self::One) } else { Err(PatternError::Gap) };
        }
        if text.contains(['{', '}']) {
            return Err(PatternError::Gap);
        }
        match text.split_once('*') {
            None => Ok(Self::Exactly(text.to_owned())),
            Some((_, after)) if after.contains('*') => Err(PatternError::Gap),
            Some((before, after)) => Ok(Self::Around(before.to_owned(), after.to_owned())),
        }
    }

    fn folded(&self) -> Self {
        match self {
            Self::Exactly(text) => Self::Exactly(fold(text)),
            Self::Around(before, after) => Self::Around(fold(before), fold(after)),
            Self::One => Self::One,
            Self::Rest => Self::Rest,
        }
    }
}

/// One form for all letter cases, also of letters whose cases differ in number.
pub(crate) fn fold(text: &str) -> String {
    if text.is_ascii() { text.to_ascii_lowercase() } else { text.to_uppercase().to_lowercase() }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.len() > MAX_PATTERN_BYTES {
            return Err(PatternError::TooLong);
        }
        let (methods, path) = match text.trim().split_once(char::is_whitespace) {
            Some((methods, path)) => (methods.split('|').map(method).collect::<Result<_, _>>()?, path.trim_start()),
            None => (Vec::new(), text.trim()),
        };
        let path = path.strip_prefix('/').ok_or(PatternError::NoPath)?;
        if path.contains(['?', '#', ';', '%', '\\']) || path.contains(char::is_whitespace) || path.contains(char::is_control) {
            return Err(PatternError::Path);
        }
        let path = path.strip_suffix('/').unwrap_or(path);
        let texts: Vec<&str> = if path.is_empty() { Vec::new() } else { path.split('/').collect() };
        let count = texts.len();
        let numbered = texts.into_iter().zip(1_usize..);
        let segments: Vec<Segment> =
            numbered.map(|(text, number)| Segment::parse(text, number == count)).collect::<Result<_, _>>()?;
        let folded = segments.iter().map(Segment::folded).collect();
        Ok(Self { text: text.trim().to_owned(), methods, segments, folded })
    }
}

fn method(text: &str) -> Result<Method, PatternError> {
    let is_method = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
    if is_method { Method::from_bytes(text.as_bytes()).map_err(|_| PatternError::Method) } else { Err(PatternError::Method) }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap()
    }

    fn is_exactly(text: &str, method: &Method, path: &str) -> bool {
        pattern(text).is_exactly(method, &Spelled::new(path))
    }

    fn is_like(text: &str, path: &str) -> bool {
        pattern(text).is_like(&Method::GET, &Spelled::new(path))
    }

    #[test]
    fn gaps_are_filled_as_the_table_says() {
        for (text, paths, others) in [
            ("/", vec!["/"], vec!["/a"]),
            ("/reports", vec!["/reports", "/reports/"], vec!["/", "/reports/1", "/report", "/reportss"]),
            ("/reports/*", vec!["/reports/1", "/reports/1/", "/reports/*"], vec!["/reports", "/reports/1/2"]),
            ("/reports/{id}/text", vec!["/reports/1/text"], vec!["/reports/text", "/reports/1/2/text"]),
            ("/reports/**", vec!["/reports", "/reports/", "/reports/1", "/reports/1/2/3"], vec!["/report", "/reports2"]),
            ("/**", vec!["/", "/a", "/a/b"], vec![]),
            ("/*.csv", vec!["/a.csv", "/.csv"], vec!["/csv", "/a.csv/b", "/a.csvs"]),
            ("/yes*sir", vec!["/yessir", "/yesXsir"], vec!["/yesir", "/yes"]),
            ("/café/*", vec!["/café/1"], vec!["/cafe/1"]),
        ] {
            for path in paths {
                assert!(is_exactly(text, &Method::GET, path), "{text} is not for {path}");
            }
            for path in others {
                assert!(!is_exactly(text, &Method::GET, path), "{text} is for {path}");
            }
        }
    }

    #[test]
    fn methods_are_told_apart_and_head_is_get() {
        assert!(is_exactly("GET /a", &Method::HEAD, "/a") && is_exactly("GET|POST  /a", &Method::POST, "/a"));
        assert!(!is_exactly("POST /a", &Method::HEAD, "/a") && !is_exactly("GET /a", &Method::POST, "/a"));
        assert!(is_exactly("/a", &Method::from_bytes(b"PROPFIND").unwrap(), "/a"));
    }

    #[test]
    fn letter_case_makes_a_difference_only_where_nothing_is_paid() {
        assert!(is_like("/Reports/*.CSV", "/rePORTS/a.csv") && is_like("/straße", "/STRASSE") && is_like("/k", "/\u{212A}"));
        assert!(!is_exactly("/Reports", &Method::GET, "/reports"));
    }

    #[test]
    fn what_no_request_can_match_is_refused() {
        for bad in [
            "",
            "reports",
            "GET",
            "get /a",
            "GET| /a",
            "GET,POST /a",
            "/a//b",
            "/../a",
            "/./a",
            "/a?b",
            "/a#b",
            "/a;b",
            "/a%20b",
            "/a b",
            "/**/a",
            "/a**",
            "/a*b*c",
            "/{}",
            "/{a b}",
            "/x{a}",
            "GET POST /a",
            &format!("/{}", "a".repeat(2_000)),
        ] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_route_that_another_one_hides_is_known() {
        for (ours, theirs) in [
            ("/**", "GET /a/b"),
            ("/a/*", "/a/b"),
            ("/a/*", "/a/*.csv"),
            ("/a/**", "/a/**"),
            ("GET|POST /a", "GET /a"),
            ("/a/*.csv", "/a/b.csv"),
            ("GET /a", "HEAD /a"),
        ] {
            assert!(pattern(ours).covers(&pattern(theirs)), "{ours} {theirs}");
        }
        for (ours, theirs) in
            [("/a/*", "/a/**"), ("GET /a", "/a"), ("GET /a", "POST /a"), ("/a/b", "/a/*"), ("/a/*.csv", "/a/*"), ("/a", "/A")]
        {
            assert!(!pattern(ours).covers(&pattern(theirs)), "{ours} {theirs}");
        }
    }
}
