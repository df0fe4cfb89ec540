//! The x402-rs facilitator over HTTP: one chain, one signer, the scheme `exact` of version 2.
//!
//! x402-rs publishes its facilitator as libraries. This is the least program around them: its own routes, its own
//! defaults, and nothing that would slow it down (no tracing, no CORS layer). It takes the node's URL as its only
//! argument and the signer's key from `PRIVATE_KEY`, prints `{"listening": "http://127.0.0.1:…"}`, and ends when its
//! standard input does.

use std::collections::HashMap;
use std::env;
use std::error::Error;
use std::io::{copy, sink, stdin};
use std::sync::Arc;

use tokio::net::TcpListener;
use x402_chain_eip155::V2Eip155Exact;
use x402_chain_eip155::chain::config::Eip155ChainConfig;
use x402_chain_eip155::chain::{Eip155ChainProvider, Eip155ChainReference};
use x402_facilitator_local::{FacilitatorLocal, handlers};
use x402_types::chain::{ChainId, ChainProviderOps, ChainRegistry, FromConfig};
use x402_types::scheme::{SchemeBlueprints, SchemeRegistry, X402SchemeFacilitator, X402SchemeFacilitatorBuilder};

/// Base Sepolia, which the measured chain stands for.
const CHAIN_ID: u64 = 84_532;

/// The only chain. A type of this program, because x402-rs leaves it to programs to say which chains there can be.
struct Provider(Arc<Eip155ChainProvider>);

impl ChainProviderOps for Provider {
    fn signer_addresses(&self) -> Vec<String> {
        ChainProviderOps::signer_addresses(&self.0)
    }

    fn chain_id(&self) -> ChainId {
        self.0.chain_id()
    }
}

impl X402SchemeFacilitatorBuilder<&Provider> for V2Eip155Exact {
    fn build(
        &self,
        provider: &Provider,
        config: Option<serde_json::Value>,
    ) -> Result<Box<dyn X402SchemeFacilitator>, Box<dyn Error>> {
        self.build(Arc::clone(&provider.0), config)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let rpc_url = env::args().nth(1).ok_or("expected the node's URL as the only argument")?;
    let key = env::var("PRIVATE_KEY").map_err(|_| "PRIVATE_KEY is not set")?;
    let inner = serde_json::from_value(serde_json::json!({"signers": [key], "rpc": [{"http": rpc_url}]}))?;
    let config = Eip155ChainConfig { chain_reference: Eip155ChainReference::new(CHAIN_ID), inner };
    let provider = Provider(Arc::new(Eip155ChainProvider::from_config(&config).await?));

    let chains = ChainRegistry::new(HashMap::from([(provider.chain_id(), provider)]));
    let schemes = SchemeBlueprints::new().and_register(V2Eip155Exact);
    let wanted = serde_json::from_value(serde_json::json!([{"id": "v2-eip155-exact", "chains": "eip155:*"}]))?;
    let facilitator = FacilitatorLocal::new(SchemeRegistry::build(chains, schemes, &wanted));

    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("{}", serde_json::json!({"listening": format!("http://{}", listener.local_addr()?)}));
    let app = handlers::routes().with_state(Arc::new(facilitator));
    let parent_ended = tokio::task::spawn_blocking(|| copy(&mut stdin(), &mut sink()));
    tokio::select! {
        served = axum::serve(listener, app) => Ok(served?),
        ended = parent_ended => Ok(ended?.map(|_| ())?),
    }
}
