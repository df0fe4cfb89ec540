//! Charges for HTTP routes with x402.
//!
//! - [`Server`]: who is paid where, by which schemes, through which facilitator; prices routes.
//! - [`http`]: the tower layer that charges for what it is laid over, and the rules that it keeps.
//! - [`gate`]: the engine below it, free of any transport: admit, work, settle or cancel.
//! - [`route`]: what one priced route offers.
//! - [`quotes`]: prices that are asked for each request.
//! - [`hooks`]: the seller's own code at the turns of a payment's life.
//! - [`usage`]: what a handler says it charges, where the price is a ceiling.
//! - [`remote`]: a facilitator behind HTTP.
//!
//! ```
//! use std::sync::Arc;
//!
//! use axum::{Router, routing::get};
//! use farthing_core::{erased::ServerSchemes, time::Clock};
//! use farthing_server::Server;
//!
//! async fn app(schemes: ServerSchemes, clock: Arc<dyn Clock>) -> Result<Router, Box<dyn std::error::Error>> {
//!     let toll = Server::builder()
//!         .schemes(schemes)
//!         .clock(clock)
//!         .facilitator("https://facilitator.example")?
//!         .pay_to("eip155:8453", "0x209693Bc6afc0C5328bA36FaF03C514EF312287C")?
//!         .build()
//!         .await?;
//!     let report = toll.price("$0.01")?.description("Tomorrow's weather").mime_type("text/plain");
//!     Ok(Router::new().route("/report", get(|| async { "rain" }).layer(report)))
//! }
//! ```

mod accepted;
mod admit;
mod apart;
mod ask;
mod builder;
mod charge;
mod claim;
mod count;
mod departed;
mod extensions;
pub mod gate;
pub mod hooks;
pub mod http;
mod keep;
mod offer;
mod order;
mod purchase;
pub mod quotes;
mod refund;
pub mod remote;
mod resource;
pub mod route;
mod sending;
mod server;
mod settle;
mod sold;
mod stop;
mod streaming;
mod template;
pub mod usage;

pub use ask::Ask;
pub use builder::{BuildError, IntoFacilitator, ServerBuilder};
pub use departed::InTransit;
pub use extensions::{DEFAULT_GRANT_SECONDS, ExtensionError, SignInOptions, Visitor};
pub use gate::{Admission, Admitted, Answer, Denied, Gate, KeepAnswers, Paid, Repeat, Repeated};
pub use hooks::Hooks;
pub use http::{AskedPrice, FixedPrice, PaymentLayer, PaymentService};
pub use keep::{DEFAULT_KEEP_ANSWER_SECONDS, DEFAULT_KEEP_UNNAMED_ANSWER_SECONDS, DEFAULT_MAX_KEPT_ANSWER_BYTES};
pub use quotes::{NoQuote, PriceRequest, Pricer, Quote, QuoteKey};
pub use refund::{REFUND_VOID_AFTER_SECONDS, RefundDesk};
pub use remote::{RemoteError, RemoteFacilitator};
pub use resource::RequestFacts;
pub use route::{Route, RouteError};
pub use sending::{MAX_SENDS, SEND_AGAIN_SECONDS};
pub use server::{DEFAULT_MAX_HELD_BODY_BYTES, Server};
pub use settle::Settled;
pub use usage::{Usage, UsageError};
