//! Pays for x402 resources within limits that hold.
//!
//! - [`Client`]: an HTTP client that pays when it is asked to, over reqwest.
//! - [`payer`]: the engine below it, free of transport: offers → controls → reservation → signature.
//! - [`controls`]: what may be spent, where, and on whose terms.
//! - [`choice`]: which of the payable offers is paid: policies and a selector.
//! - [`hooks`]: the buyer's own code at the turns of a payment's life.
//! - [`offers`]: every offer that was considered, with the reason why it was passed over.
//! - [`settlement`]: what became of a payment, as the server tells it.
//! - [`terms`]: what a resource asks and what would be paid, for `inspect` and dry runs.
//!
//! ```no_run
//! # async fn example(wallet: farthing_core::erased::ClientSchemes,
//! #     clock: std::sync::Arc<dyn farthing_core::time::Clock>) -> Result<(), Box<dyn std::error::Error>> {
//! let client = farthing_client::Client::builder().schemes(wallet).clock(clock).limit("$5 per day")?.build()?;
//! let report = client.get("https://api.example.com/report").send().await?;
//! if let Some(payment) = report.paid() {
//!     println!("paid {} on {}", payment.usd, payment.network);
//! }
//! println!("{}", report.text().await?);
//! # Ok(())
//! # }
//! ```

mod builder;
pub mod choice;
pub mod controls;
mod error;
mod exchange;
mod heard;
pub mod hooks;
mod http;
pub mod offers;
mod origin;
mod paid;
pub mod payer;
mod request;
mod response;
pub mod settlement;
mod sign_in;
mod statements;
pub mod terms;
mod trace;
mod unpaid;

pub use builder::{BuildError, ClientBuilder};
pub use choice::Candidate;
pub use controls::SpendControls;
pub use error::{Declined, Error, Rejected, Rule, Unknown};
pub use hooks::{AfterAnswer, Approval, Hooks, Recovered};
pub use http::Client;
pub use offers::{Considered, Skip, Verdict};
pub use payer::{Payer, Promised, Purchase, Refused};
pub use request::RequestBuilder;
pub use response::Response;
pub use settlement::{PaymentFacts, PaymentOutcome};
pub use sign_in::SignInPolicy;
pub use statements::StatementFault;
pub use terms::Terms;
