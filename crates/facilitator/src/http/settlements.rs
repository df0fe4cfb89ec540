//! `GET /settlements/{id}`: what became of a payment, or of everything that one transaction carries.
//!
//! It tells what the chain tells everybody: no signature and no request. Whose request it was, and in whose words it was
//! refused, is told to the caller itself only.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Json, Response};
use farthing_core::books::{SettlementEntry, SettlementState};
use farthing_core::scheme::{PaymentKey, TransactionId};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tracing::warn;

use super::{access, try_again};
use crate::error::{NoAnswer, chain};
use crate::local::Local;

/// The longest id that is looked up, in bytes.
const MAX_ID_BYTES: usize = 256;

pub(super) async fn settlement(State(facilitator): State<Arc<Local>>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    if id.is_empty() || id.len() > MAX_ID_BYTES || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
        return not_found();
    }
    let caller = if headers.contains_key(http::header::AUTHORIZATION) {
        access::caller(&facilitator, &headers).ok().flatten()
    } else {
        None
    };
    match look_up(&facilitator, &id, caller).await {
        Ok(Some(found)) => Json(found).into_response(),
        Ok(None) => not_found(),
        Err(cause) => {
            warn!(error = chain(&cause), "could not look a settlement up");
            try_again(Json(json!({"error": "the book cannot be read now; try again later"})))
        }
    }
}

async fn look_up(facilitator: &Local, id: &str, caller: Option<&str>) -> Result<Option<Value>, NoAnswer> {
    if let Ok(key) = id.parse::<PaymentKey>()
        && let Some(entry) = facilitator.find(key).await?
    {
        return Ok(Some(shown(&entry, caller)));
    }
    // Hashes in hexadecimal digits are the same in either letter case; other names of transactions are not.
    let is_hex = id.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
    let transaction = if is_hex { id.to_ascii_lowercase() } else { id.to_owned() };
    let entries = facilitator.carried_by(TransactionId(transaction)).await?;
    let settlements: Vec<Value> = entries.iter().map(|entry| shown(entry, caller)).collect();
    Ok(if settlements.is_empty() { None } else { Some(json!({"settlements": settlements})) })
}

fn shown(entry: &SettlementEntry, caller: Option<&str>) -> Value {
    let record = &entry.record;
    let mut shown = json!({
        "id": record.key.to_string(),
        "state": entry.state.name().as_str(),
        "scheme": record.scheme,
        "network": record.network,
        "payer": record.payer,
        "payTo": record.pay_to,
        "asset": record.asset,
        "amount": record.amount,
        "transaction": entry.transaction.0,
        "sentAt": entry.sent_at,
        "changedAt": entry.changed_at,
    });
    let Some(fields) = shown.as_object_mut() else { return shown };
    let own = caller.filter(|caller| entry.caller.as_deref() == Some(*caller));
    match &entry.state {
        SettlementState::Sending(_) => {}
        SettlementState::Settled(settlement) => {
            fields.insert("amount".to_owned(), json!(settlement.amount));
        }
        SettlementState::Dead(refusal) => {
            let mut refused = json!({"reason": refusal.reason});
            // A scheme's words may be those of its node.
            if let (Some(_), Some(refused)) = (own, refused.as_object_mut()) {
                refused.insert("message".to_owned(), json!(refusal.message));
            }
            fields.insert("refusal".to_owned(), refused);
        }
    }
    if let Some(caller) = own {
        fields.insert("caller".to_owned(), json!(caller));
    }
    shown
}

fn not_found() -> Response {
    let error = "no payment with this id, and none carried by a transaction of this name, was sent from here; expected the \
                 settlementId of a pending answer (64 hexadecimal digits), or the transaction of any answer. A payment that \
                 was never sent is not listed: ask /settle with the payment itself";
    (StatusCode::NOT_FOUND, Json(json!({"error": error}))).into_response()
}
