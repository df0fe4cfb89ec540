//! What a page may do, and what it may not, in the words of a `Content-Security-Policy`.

use farthing_core::header;
use http::HeaderValue;
use sha2::{Digest, Sha256};

use crate::file::Origin;

/// The policy of a page with this style and this script, and no others.
pub(super) fn of(style: &str, script: &str, frame_ancestors: &[Origin]) -> HeaderValue {
    let ancestors: Vec<&str> = frame_ancestors.iter().map(Origin::as_str).collect();
    let ancestors = if ancestors.is_empty() { "'none'".to_owned() } else { ancestors.join(" ") };
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; img-src 'self' data: blob:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors {ancestors}; require-trusted-types-for 'script'; trusted-types 'none'",
        hash(script),
        hash(style),
    );
    // Origins hold nothing but what a header can; without a policy nothing would be allowed less.
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

fn hash(text: &str) -> String {
    format!("'sha256-{}'", header::encode_bytes(Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_runs_but_what_was_hashed_and_nobody_frames_it_unless_named() {
        let policy = of("", "", &[]);
        // The digest of nothing, as everybody knows it.
        assert!(
            policy
                .to_str()
                .unwrap()
                .contains("script-src 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='; style-src 'sha256-")
        );
        assert!(policy.to_str().unwrap().contains("frame-ancestors 'none'; "));
        let framed = of("", "", &["https://a.example".parse().unwrap(), "https://b.example:8443".parse().unwrap()]);
        assert!(framed.to_str().unwrap().contains("frame-ancestors https://a.example https://b.example:8443; "));
    }
}
