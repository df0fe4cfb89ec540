//! The page: one answer with its text, its style and its script, which asks nobody but this listener.

use axum::response::{IntoResponse, Response};
use farthing_core::header;
use http::HeaderValue;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_FRAME_OPTIONS};
use sha2::{Digest, Sha256};

const TEMPLATE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
/// What runs in the page: one module, of these files.
const SCRIPT: &str = concat!(
    include_str!("../paywall/page/networks.js"),
    include_str!("page/words.js"),
    include_str!("page/plot.js"),
    include_str!("page/lists.js"),
    include_str!("page/main.js"),
);

pub(super) async fn page() -> Response {
    let html = TEMPLATE.replace("{{style}}", STYLE).replace("{{script}}", SCRIPT);
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (CONTENT_SECURITY_POLICY, policy()),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    ];
    (headers, html).into_response()
}

/// Nothing runs but what was hashed, and nobody else is asked for anything.
fn policy() -> HeaderValue {
    let hash = |text: &str| format!("'sha256-{}'", header::encode_bytes(Sha256::digest(text)));
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
        hash(SCRIPT),
        hash(STYLE),
    );
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that the page brings with it.
    const MAX_PAGE_BYTES: usize = 60_000;

    #[test]
    fn the_page_is_small_and_asks_nobody_else() {
        assert!(TEMPLATE.len() + STYLE.len() + SCRIPT.len() < MAX_PAGE_BYTES);
        for part in [TEMPLATE, STYLE] {
            for asks in ["@import", "url(", "src=\"", "<link", "onclick", "style=\""] {
                assert!(!part.contains(asks), "{asks}");
            }
        }
        assert!(!SCRIPT.contains("</script") && !SCRIPT.contains("innerHTML") && !SCRIPT.contains("eval("));
    }
}
