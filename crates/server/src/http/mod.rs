//! The gate as a tower layer over HTTP.
//!
//! For every request to a priced route:
//!
//! 1. No payment: status 402 with the terms, in `PAYMENT-REQUIRED` for buyers of version 2 and in the body for buyers
//!    of version 1. The handler does not run. HEAD is priced as GET, and so is every other method.
//! 2. A payment header that cannot be read, two of them, or a list in one: status 400, and nobody is asked anything.
//! 3. A payment that does not fit, or that the facilitator refuses: status 402 with the reason and the terms again. One
//!    that another request is using: 409. One that cannot be checked now: 503, or 502 if the facilitator's answer makes
//!    no sense. The handler does not run.
//! 4. The handler runs, without the payment headers and with a [`Paid`](crate::Paid) among the request's extensions.
//!    Status 400 and above, a panic, a body that breaks off or exceeds the limit, a client that leaves before all that is
//!    done: nothing is charged and the payment is free again.
//! 5. The whole answer is held back until the money has moved and that is in the book. Then it goes out with
//!    `PAYMENT-RESPONSE` (version 1: `X-PAYMENT-RESPONSE`) and `Cache-Control: private, no-store`, whatever the handler
//!    wished. If not, the answer is dropped: 402 if the money never will move with this payment, 503 or 502 if that is not
//!    known.
//! 6. A payment whose outcome was not known, or whose client had left meanwhile, can be presented again by the same
//!    request. Then it is settled first, and the handler runs only once that has succeeded; until then the answer is 503
//!    again, with `settlement_pending`. If the handler fails, the buyer is told that the payment has settled, and may
//!    present it once more.
//! 7. An answer of at most a megabyte is kept with its payment ([`KeepAnswers`](crate::KeepAnswers)). One that did not get
//!    out, as far as anybody knows, goes out to the same payment for the same request as it was, with its first settlement,
//!    and the handler does not run.
//!
//! A payment that names its purchase (`payment-identifier`; [`PaymentLayer::payment_identifier`] asks for it) gets the answer
//! to that name again, for a day, and so does every other payment of the same payer for the same request; it is verified and
//! not charged. While the purchase is under way: 409. While it is not known whether it was paid for: 402 with
//! `settlement_pending`, and only the first payment can go on. For another request, or on other terms: 409 with
//! `payment_identifier_conflict`. A name is free again once its purchase has come to nothing. Another body is another request:
//! the body of a purchase with a name is read before anything is done for it, up to [`DEFAULT_MAX_BOUND_BODY_BYTES`] or what
//! [`PaymentLayer::binding_body`] says, and with more it is refused with 413. Requests without a name go through unread.
//!
//! A route that is priced up to a ceiling charges what its handler says: through [`Paid::usage`](crate::Paid::usage), or in
//! an answer's header `Settlement-Overrides`, JSON such as `{"amount": "33.33%"}`, which goes no further. A handler that
//! charges what cannot be charged has failed: status 500, and nobody is charged.
//!
//! A route that is [`upfront`](PaymentLayer::upfront) settles before the handler runs, and says so in its terms. If the
//! handler fails then, its answer tells the settlement, and the same request may present the same payment again, as in 6.
//!
//! A route that is opened by [signing in](PaymentLayer::sign_in) sends a challenge with its terms, a new one in each answer. A
//! request with `SIGN-IN-WITH-X` is checked before any payment:
//!
//! - Good, never used before, and of an account that has paid for exactly this: the handler runs unpaid, with a
//!   [`Visitor`](crate::Visitor) in the place of the [`Paid`](crate::Paid). A payment that came along is not charged.
//! - Whatever is wrong with it, or its signature cannot be checked now: as if it were not there, with the reason in the terms.
//! - The book of sign-ins cannot be read: status 503, unless it pays as well. Nobody pays twice because a book is away.
//!
//! What a paid answer needs besides, a grant in that book and a [receipt](crate::ServerBuilder::offer_receipts), is made once
//! the money has moved, and never withholds the answer for long: what fails is logged and left out.
//!
//! A route whose [price is asked](crate::Server::price_by) for each request is sold on the terms of its quotes
//! ([`quotes`](crate::quotes)): a payment that comes with a good quote is taken although the price has moved; with one that
//! is for another request or other terms (`quote_mismatch`), or that has expired (`quote_expired`), it is refused with a
//! fresh one, unless the book says that this very payment may have been charged for this very request: then it goes on as 6
//! says. If the pricer needs the body: 413 where it is larger than the pricer reads, 408 where it takes too long to come,
//! and the handler gets it as it came. A request that the pricer refuses: the status that it names. Where it has no price,
//! the answer is 503 (`price_unavailable`), and never free.
//!
//! A seller's [hooks](crate::hooks) are asked before all of this whether a request is let in unpaid, or turned away (403,
//! `access_denied`). Where one of them fails before the money has moved: 503 (`hook_failed`).
//!
//! Browsers: a CORS layer belongs *outside* this one, because the 402 needs its headers as well. It then answers
//! preflights before they get here; a preflight that does get here is priced like any request, unless
//! [`PaymentLayer::pass_preflights`] says that the inner service answers preflights and does nothing else for them.

mod answer;
mod asked;
mod bind;
mod body;
mod future;
mod headers;
mod kept;
mod last;
mod layer;
mod overrides;
mod request;
mod sale;
mod service;
mod toll;
mod work;

pub use bind::DEFAULT_MAX_BOUND_BODY_BYTES;
pub use body::{Held, Passed, PaymentBody};
pub use future::PaymentFuture;
pub use layer::{AskedPrice, FixedPrice, PaymentLayer};
pub use request::{MAX_URL_BYTES, OverTls};
pub use service::PaymentService;
pub use work::BrokeOff;
