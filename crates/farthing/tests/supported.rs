//! What a facilitator says that it can do, as its operator has set it up.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::sync::Arc;

use farthing::core::extension::builder_code::{Code, FacilitatorCodes};
use farthing::core::facilitator::Facilitator as _;
use farthing::evm::config::{ChainConfig, RpcUrl};
use farthing::evm::signer::{LocalSigner, Signer};
use farthing::facilitator::Setup;
use farthing_testkit::golden;

fn setup(networks: &[(&str, bool)]) -> Setup {
    let signer: Arc<dyn Signer> = Arc::new(LocalSigner::from_hex(golden::SECOND_KEY.to_owned().into()).unwrap());
    networks.iter().fold(farthing::Facilitator::builder(), |setup, (network, approvals)| {
        let mut config = ChainConfig::new(network.parse().unwrap(), RpcUrl::new("http://127.0.0.1:1"));
        (config.sponsor.permits, config.sponsor.approvals) = (false, *approvals);
        setup.chain(config, vec![Arc::clone(&signer)])
    })
}

async fn extensions(setup: Setup) -> Vec<String> {
    setup.build().unwrap().supported().await.unwrap().extensions
}

#[tokio::test]
async fn an_extension_is_listed_once_if_any_network_honours_it() {
    assert_eq!(extensions(setup(&[("eip155:8453", false), ("eip155:84532", false)])).await, Vec::<String>::new());
    assert_eq!(extensions(setup(&[("eip155:8453", false), ("eip155:84532", true)])).await, ["erc20ApprovalGasSponsoring"]);
    let codes = FacilitatorCodes { wallet: Some(Code::new("ours").unwrap()), service: None };
    let listed = extensions(setup(&[("eip155:8453", true)]).builder_codes(codes)).await;
    assert_eq!(listed, ["erc20ApprovalGasSponsoring", "builder-code"]);
}
