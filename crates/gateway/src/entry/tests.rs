//! Tokens of every algorithm, signed by others than the code that checks them wherever that can be.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use farthing_core::time::UnixSeconds;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

use super::desk::DeskError;
use super::tokens::{BadToken, Tokens};

const NOW: UnixSeconds = UnixSeconds(1_900_000_000);
/// Made with OpenSSL: `{"alg":"RS256","kid":"one"}`, `{"sub":"alice","exp":2000000000}`.
const RS256_TOKEN: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6Im9uZSJ9.eyJzdWIiOiJhbGljZSIsImV4cCI6MjAwMDAwMDAwMH0.BQS3xxHMGLb0S2znEYRfYCxj6Y0pRigziIdN2BhhBvBBNPJhKf8xshFpagbvNf2Ba-ArLd79Gl74ZBCv0LN1ioqdu-rP5T__19fOXOk-9gunp_vLiaeSBh3cQpVay4Dj8szeXjGk3OzyzdGYNXzR-50vf7-c1uWewm94eEoyFLJygXEqCrqqUdYKKYyHYQmxOBiTb0o_QaIl55XMwoQJb7BBrUS1_X2U5TF6RkeL3t-lZzTTZ47i9Qju3VgirfSHSRAf4eEsj36wme54YePa6ecwDno73r49o3hgLTf-6AGt_iNFQSPmDOGCTUxOtVkXNzuGO1tR3Eq6WfmjpogmHQ";
const RS256_MODULUS: &str = "s_37wgGknvrMsdKymP1YTWVTjPOAJf-UlAz8bIqZfYU1azbQd78scojG-BJBRvi8NJYC9wNvdeU-3CCDqRbD4D5gkeFJP_pSizdjgqf8fW3p3JjJAWy3EQBX8wOBMIaYMWVlt_TD5HkVl6KI1rYC8iFb0bEZTuJm4o1hcPXuLxCrTtEIFIRJ2t2BDiJI0CYN4okLjqHPWVVRI58umhJsgCH_AIopen-8iJY2rtPo8oYrjqfdf_MZfnizZfNONH88u346nFS476r9nVHJ3kRYNq4Yas-MqLDe3i5oG-qrO8NkJInUPr5EoHlj4XCuty9ZTBSVJ-RMfu_NRZHFvxhGpQ";

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn tokens(algorithm: &str, key_set: &Value) -> Result<Tokens, DeskError> {
    let table = toml::from_str(&format!("algorithm = '{algorithm}'\nkey_set = 'file:keys'")).unwrap();
    Tokens::new(&table, None, Some(&key_set.to_string()))
}

fn message(head: &Value) -> String {
    format!("{}.{}", encode(head.to_string()), encode(json!({"sub": "alice", "exp": 2_000_000_000_u64}).to_string()))
}

fn who(tokens: &Tokens, token: &str) -> Result<String, BadToken> {
    tokens.subscriber(token.as_bytes(), NOW)
}

#[test]
fn rs256_of_another_library_is_read() {
    let key = json!({"kty": "RSA", "kid": "one", "n": RS256_MODULUS, "e": "AQAB"});
    let tokens = tokens("RS256", &json!({"keys": [key]})).unwrap();
    assert_eq!(who(&tokens, RS256_TOKEN).unwrap(), "alice");
    let other = RS256_TOKEN.replacen("eyJzdWIiOiJhbGljZSI", "eyJzdWIiOiJhbGljZCI", 1);
    assert_eq!(who(&tokens, &other), Err(BadToken::Signature));
}

#[test]
fn es256_and_ed25519_are_read_by_the_key_that_the_token_names() {
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap();
    let point = pair.public_key().as_ref();
    let p256 = json!({"kty": "EC", "crv": "P-256", "kid": "p", "x": encode(&point[1..33]), "y": encode(&point[33..])});
    let document = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
    let edwards = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
    let ed25519 = json!({"kty": "OKP", "crv": "Ed25519", "kid": "e", "x": encode(edwards.public_key())});
    let set = json!({"keys": [p256, ed25519]});

    let es256 = tokens("ES256", &set).unwrap();
    let signed = |head: &Value| {
        let message = message(head);
        let signature = pair.sign(&random, message.as_bytes()).unwrap();
        format!("{message}.{}", encode(signature))
    };
    assert_eq!(who(&es256, &signed(&json!({"alg": "ES256", "kid": "p"}))).unwrap(), "alice");
    assert_eq!(who(&es256, &signed(&json!({"alg": "ES256"}))).unwrap(), "alice");
    assert_eq!(who(&es256, &signed(&json!({"alg": "ES256", "kid": "e"}))), Err(BadToken::Signature));
    assert_eq!(who(&es256, &signed(&json!({"alg": "ES256", "crit": ["b64"]}))), Err(BadToken::Critical));

    let eddsa = tokens("EdDSA", &set).unwrap();
    let message = message(&json!({"alg": "EdDSA", "kid": "e"}));
    let token = format!("{message}.{}", encode(edwards.sign(message.as_bytes())));
    assert_eq!(who(&eddsa, &token).unwrap(), "alice");
    assert_eq!(who(&es256, &token), Err(BadToken::Algorithm("ES256")));
}

#[test]
fn no_token_chooses_how_it_is_checked() {
    let secret = "a secret of at least thirty-two bytes";
    let table = toml::from_str("algorithm = 'HS256'\nsecret = 'env:S'").unwrap();
    let tokens = Tokens::new(&table, Some(secret.as_bytes()), None).unwrap();
    for alg in ["none", "None", "hs256", "HS512", "RS256", ""] {
        let token = format!("{}.", message(&json!({"alg": alg})));
        assert_eq!(who(&tokens, &token), Err(BadToken::Algorithm("HS256")), "{alg}");
    }
    let unsigned = format!("{}.", message(&json!({"alg": "HS256"})));
    assert_eq!(who(&tokens, &unsigned), Err(BadToken::Signature));
    for garbage in ["", ".", "..", "a.b.c", "e30.e30.", &"a".repeat(9_000), "\u{e9}.\u{e9}.\u{e9}"] {
        assert_eq!(who(&tokens, garbage), Err(BadToken::Malformed), "{garbage}");
    }
}

#[test]
fn keys_that_fit_no_algorithm_are_found_at_once() {
    let set = json!({"keys": [{"kty": "oct", "k": "c2VjcmV0"}, {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]});
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        let error = tokens(algorithm, &set).err().unwrap().to_string();
        assert!(error.contains("expected a public key of the algorithm"), "{error}");
    }
    let short = toml::from_str("algorithm = 'HS256'\nsecret = 'env:S'").unwrap();
    assert!(matches!(Tokens::new(&short, Some(b"hunter2"), None), Err(DeskError::ShortSecret)));
    assert!(matches!(Tokens::new(&short, None, Some("{}")), Err(DeskError::TokenKey(_))));
}
