//! An HTTP answer in the form in which it is kept: its head as JSON, its body as it is.
//!
//! Kept is what the handler answered. What is added on the way out (the settlement, the cache's orders) is added again in
//! the same way when it goes out again. Headers that belong to one connection are not kept (RFC 9110 §7.6.1).

use bytes::Bytes;
use http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE};
use http::{Response, StatusCode};
use serde::{Deserialize, Serialize};

use super::body::Held;
use crate::gate::{Answer, KeepAnswers, Repeated};

/// Headers of one connection, beside those that `Connection` names.
const HOP_BY_HOP: [HeaderName; 6] = [
    CONNECTION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// What comes before the body, and after it. A value's bytes are the characters of the same numbers, so that every value can
/// be written and most can be read.
#[derive(Serialize, Deserialize)]
struct Head {
    status: u16,
    headers: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    trailers: Vec<(String, String)>,
}

/// The answer as it is kept, if it is not too large for that.
pub(super) fn of(answer: &Response<Held>, keep: &KeepAnswers) -> Option<Answer> {
    let (body, trailers) = answer.body().parts();
    if !keep.holds(body.len()) {
        return None;
    }
    let head = Head {
        status: answer.status().as_u16(),
        headers: written(answer.headers()),
        trailers: trailers.map(written).unwrap_or_default(),
    };
    match serde_json::to_vec(&head) {
        Ok(head) => Some(Answer { head, body: body.clone() }).filter(|answer| keep.holds(answer.bytes())),
        Err(error) => {
            tracing::error!(%error, "an answer's head cannot be written; the answer is not kept");
            None
        }
    }
}

/// The answer that was kept; `None` if it cannot be read, which is logged.
pub(super) fn again(repeated: &Repeated) -> Option<Response<Held>> {
    match read(repeated) {
        Ok(answer) => Some(answer),
        Err(error) => {
            tracing::error!(error, "an answer in the deliveries book cannot be read");
            None
        }
    }
}

fn read(repeated: &Repeated) -> Result<Response<Held>, String> {
    let head: Head = serde_json::from_slice(&repeated.head).map_err(|error| error.to_string())?;
    let trailers = if head.trailers.is_empty() { None } else { Some(headers_of(head.trailers)?) };
    let mut answer = Response::new(Held::new(Bytes::copy_from_slice(&repeated.body), trailers));
    *answer.status_mut() = StatusCode::from_u16(head.status).map_err(|error| error.to_string())?;
    *answer.headers_mut() = headers_of(head.headers)?;
    Ok(answer)
}

fn written(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| value.as_bytes().iter().copied().map(char::from).collect::<String>();
    let of_one_connection: Vec<String> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| text(value).split(',').map(|name| name.trim().to_ascii_lowercase()).collect::<Vec<_>>())
        .collect();
    let is_kept =
        |name: &HeaderName| !HOP_BY_HOP.contains(name) && !of_one_connection.iter().any(|other| other == name.as_str());
    headers.iter().filter(|(name, _)| is_kept(name)).map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

fn headers_of(written: Vec<(String, String)>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::with_capacity(written.len());
    for (name, text) in written {
        let bytes = text.chars().map(u8::try_from).collect::<Result<Vec<u8>, _>>().map_err(|error| error.to_string())?;
        let value = HeaderValue::from_bytes(&bytes).map_err(|error| error.to_string())?;
        headers.append(HeaderName::try_from(name).map_err(|error| error.to_string())?, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use farthing_core::reason::{Reason, Refusal};
    use farthing_core::wire::SettleResponse;

    fn round(answer: &Response<Held>) -> Option<Response<Held>> {
        let Answer { head, body } = of(answer, &KeepAnswers::default()).unwrap();
        let settlement = SettleResponse::failure(Refusal::new(Reason::SettlementPending, ""), None);
        again(&Repeated { settlement, head: head.into(), body: body.as_ref().into() })
    }

    #[test]
    fn an_answer_comes_back_as_it_was_but_for_what_belonged_to_its_connection() {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let mut answer = Response::new(Held::new(Bytes::from_static(b"\0\xff body"), Some(trailers.clone())));
        *answer.status_mut() = StatusCode::CREATED;
        let headers = answer.headers_mut();
        headers.append("set-cookie", HeaderValue::from_static("a=1; HttpOnly"));
        headers.append("set-cookie", HeaderValue::from_static("b=2"));
        headers.insert("x-bytes", HeaderValue::from_bytes(b"\xe9 \xff").unwrap());
        let kept = headers.clone();
        for (name, value) in [("connection", "close, X-Hop"), ("keep-alive", "timeout=5"), ("x-hop", "1"), ("te", "trailers")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let again = round(&answer).unwrap();
        assert_eq!((again.status(), again.headers()), (StatusCode::CREATED, &kept));
        let (body, kept_trailers) = again.body().parts();
        assert_eq!((body.as_ref(), kept_trailers), (b"\0\xff body".as_slice(), Some(&trailers)));
    }

    #[test]
    fn what_is_too_large_is_not_kept() {
        let answer = Response::new(Held::from("0123456789"));
        let with = |max_bytes| of(&answer, &KeepAnswers { max_bytes, ..KeepAnswers::default() });
        let bytes = with(1_000).unwrap().bytes();
        assert!(with(bytes).is_some() && with(bytes - 1).is_none() && with(9).is_none());
        assert!(of(&Response::new(Held::default()), &KeepAnswers::nothing()).is_none());
    }

    #[test]
    fn what_cannot_be_read_is_no_answer() {
        let settlement = SettleResponse::failure(Refusal::new(Reason::SettlementPending, ""), None);
        for head in [
            "",
            "{}",
            r#"{"status":99,"headers":[]}"#,
            r#"{"status":200,"headers":[["a b","c"]]}"#,
            r#"{"status":200,"headers":[["a","€"]]}"#,
        ] {
            let repeated = Repeated { settlement: settlement.clone(), head: head.as_bytes().into(), body: [].into() };
            assert!(again(&repeated).is_none(), "{head}");
        }
    }
}
