//! Messages as the official SDKs write them (protocol reference §3), for the other tests.

/// The terms of a 402 of version 2, as in the `PAYMENT-REQUIRED` header.
pub const REQUIRED: &str = r#"{"x402Version":2,"error":"Payment required","resource":{"url":"https://api.example.com/data","description":"","mimeType":""},"accepts":[{"scheme":"exact","network":"eip155:84532","amount":"10000","asset":"0x036CbD53842c5426634e7929541eC2318f3dCF7e","payTo":"0x209693Bc6afc0C5328bA36FaF03C514EF312287C","maxTimeoutSeconds":300,"extra":{"name":"USDC","version":"2"}}]}"#;

/// The offer in [`REQUIRED`].
pub const OFFER: &str = r#"{"scheme":"exact","network":"eip155:84532","amount":"10000","asset":"0x036CbD53842c5426634e7929541eC2318f3dCF7e","payTo":"0x209693Bc6afc0C5328bA36FaF03C514EF312287C","maxTimeoutSeconds":300,"extra":{"name":"USDC","version":"2"}}"#;

/// The part of a payment that only the scheme reads, signed by development key 0.
pub const PAYLOAD: &str = r#"{"signature":"0xb94ef123cd6d9ddd3d07c0ca613bfdda66fa4dfa9643d26b88b548aadb58f820635c7c9e214548348d6e30f3d920b13dceea7bef05e329c54b6cebb53cc70fd01b","authorization":{"from":"0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266","to":"0x209693Bc6afc0C5328bA36FaF03C514EF312287C","value":"10000","validAfter":"0","validBefore":"1800000000","nonce":"0x1111111111111111111111111111111111111111111111111111111111111111"}}"#;

/// A payment of version 2, as in the `PAYMENT-SIGNATURE` header.
pub fn payment() -> String {
    format!(
        r#"{{"x402Version":2,"resource":{{"url":"https://api.example.com/data","description":"","mimeType":""}},"accepted":{OFFER},"payload":{PAYLOAD}}}"#
    )
}

/// The body of `/verify` and `/settle` in version 2.
pub fn request() -> String {
    format!(r#"{{"x402Version":2,"paymentPayload":{},"paymentRequirements":{OFFER}}}"#, payment())
}

/// The body of a 402 of version 1.
pub const REQUIRED_V1: &str = r#"{"x402Version":1,"error":"Payment required","accepts":[{"scheme":"exact","network":"base-sepolia","maxAmountRequired":"10000","resource":"https://api.example.com/data","description":"Data","mimeType":"application/json","payTo":"0x209693Bc6afc0C5328bA36FaF03C514EF312287C","maxTimeoutSeconds":300,"asset":"0x036CbD53842c5426634e7929541eC2318f3dCF7e","extra":{"name":"USDC","version":"2"}}]}"#;

/// The offer in [`REQUIRED_V1`].
pub const OFFER_V1: &str = r#"{"scheme":"exact","network":"base-sepolia","maxAmountRequired":"10000","resource":"https://api.example.com/data","description":"Data","mimeType":"application/json","payTo":"0x209693Bc6afc0C5328bA36FaF03C514EF312287C","maxTimeoutSeconds":300,"asset":"0x036CbD53842c5426634e7929541eC2318f3dCF7e","extra":{"name":"USDC","version":"2"}}"#;

/// A payment of version 1, as in the `X-PAYMENT` header.
pub fn payment_v1() -> String {
    format!(r#"{{"x402Version":1,"scheme":"exact","network":"base-sepolia","payload":{PAYLOAD}}}"#)
}

/// The body of `/verify` and `/settle` in version 1.
pub fn request_v1() -> String {
    format!(r#"{{"x402Version":1,"paymentPayload":{},"paymentRequirements":{OFFER_V1}}}"#, payment_v1())
}

/// A settlement, as in the `PAYMENT-RESPONSE` header.
pub const SETTLED: &str = r#"{"success":true,"payer":"0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266","transaction":"0xf42b7607231ebda48c4b18b2f1eeba428c9e34e3bf537c04502c2e686cbb77cb","network":"eip155:84532"}"#;

/// A settlement in version 1, as in the `X-PAYMENT-RESPONSE` header.
pub const SETTLED_V1: &str = r#"{"success":true,"payer":"0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266","transaction":"0xf42b7607231ebda48c4b18b2f1eeba428c9e34e3bf537c04502c2e686cbb77cb","network":"base-sepolia"}"#;

/// A failed settlement.
pub const NOT_SETTLED: &str = r#"{"success":false,"errorReason":"invalid_exact_evm_nonce_already_used","errorMessage":"authorization.nonce: used","transaction":"","network":"eip155:84532"}"#;

/// The answer of `/supported`.
pub const SUPPORTED: &str = r#"{"kinds":[{"x402Version":2,"scheme":"exact","network":"eip155:84532"},{"x402Version":1,"scheme":"exact","network":"base-sepolia"},{"x402Version":2,"scheme":"exact","network":"solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp","extra":{"feePayer":"2wKupLR9q6wXYppw8Gr2NvWxKBUqm4PPJKkQfoxHDBg4"}}],"extensions":["bazaar"],"signers":{"eip155:*":["0x70997970C51812dc3A010C7d01b50e0d17dc79C8"],"solana:*":["2wKupLR9q6wXYppw8Gr2NvWxKBUqm4PPJKkQfoxHDBg4"]}}"#;

/// The same text with a change, which must be one.
pub fn with(text: &str, from: &str, to: &str) -> String {
    let changed = text.replacen(from, to, 1);
    assert_ne!(changed, text, "{from} is not in {text}");
    changed
}
