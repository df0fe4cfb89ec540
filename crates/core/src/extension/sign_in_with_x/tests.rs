//! Golden texts and headers are those of `@x402/extensions` 2.27.0.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use serde_json::json;

use super::*;
use crate::books::{Grant, MemorySignIns, Reach, SignIns as _};
use crate::header;

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
const ACCOUNT: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
const SOLANA: &str = "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp";
const SOLANA_ACCOUNT: &str = "BSmWDgE9ex6dZYbiTsJGcwMEgFp8q4aWh92hdErQPeVW";
/// The content of a header.
const SIGN_IN: &str = concat!(
    r#"{"domain":"api.example.com","address":"0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266","#,
    r#""statement":"Sign in to read what you paid for","uri":"https://api.example.com/data?x=1","version":"1","#,
    r#""chainId":"eip155:84532","type":"eip191","nonce":"0123456789abcdef0123456789abcdef","#,
    r#""issuedAt":"2027-01-15T08:00:00.000Z","expirationTime":"2027-01-15T08:05:00.000Z","#,
    r#""notBefore":"2027-01-15T08:00:00.000Z","requestId":"request-7","#,
    r#""resources":["https://api.example.com/data","https://api.example.com/more"],"#,
    r#""signature":"0x47fde4721e82771d7d5299b0d7163add9bc9a25e5ab51191025e33a13c386ad425463977be127d1fc52915d9553ee9785b2b9809275c90941efc990cd545ae2c1b"}"#,
);

/// Signs by writing `signed:` and the account before the text, and checks the same.
struct Plain {
    namespace: &'static str,
    format: MessageFormat,
    breaks: bool,
}

impl Plain {
    fn evm() -> Self {
        Self { namespace: "eip155", format: MessageFormat::Siwe, breaks: false }
    }

    fn signature(account: &AccountId, message: &Message) -> String {
        format!("signed:{account}:{}", message.as_str())
    }
}

impl MessageSigner for Plain {
    fn namespace(&self) -> &str {
        self.namespace
    }

    fn format(&self) -> MessageFormat {
        self.format
    }

    fn account(&self, network: &Network) -> Option<AccountId> {
        (network.reference() != "10").then(|| ACCOUNT.parse().unwrap())
    }

    fn sign<'a>(&'a self, message: &'a Message) -> BoxFuture<'a, Result<String, Source>> {
        let signed = Self::signature(&ACCOUNT.parse().unwrap(), message);
        Box::pin(std::future::ready(if self.breaks { Err("locked".into()) } else { Ok(signed) }))
    }
}

impl MessageVerifier for Plain {
    fn namespace(&self) -> &str {
        self.namespace
    }

    fn format(&self) -> MessageFormat {
        self.format
    }

    fn account(&self, address: &str) -> Option<AccountId> {
        address.eq_ignore_ascii_case(ACCOUNT).then(|| ACCOUNT.parse().unwrap())
    }

    fn verify<'a>(&'a self, claimed: Claimed<'a>) -> BoxFuture<'a, Result<Reach, MessageError>> {
        Box::pin(std::future::ready(if self.breaks {
            Err(MessageError::Unavailable("http://secret.node is down".into()))
        } else if claimed.signature.is_empty() {
            Err(MessageError::Malformed("it is empty".to_owned()))
        } else if claimed.signature == Self::signature(claimed.account, claimed.message) {
            Ok(Reach::Family)
        } else {
            Err(MessageError::NotTheirs("it is not that of the account".to_owned()))
        }))
    }
}

struct Sevens;

impl Entropy for Sevens {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), Source> {
        buffer.fill(7);
        Ok(())
    }
}

fn finished<T>(future: impl Future<Output = T>) -> T {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("nothing here waits"),
    }
}

fn origin() -> Origin {
    "https://api.example.com".parse().unwrap()
}

fn network() -> Network {
    "eip155:84532".parse().unwrap()
}

fn plain_info() -> Info {
    Info {
        domain: "api.example.com".to_owned(),
        uri: "https://api.example.com/data?x=1".to_owned(),
        version: "1".to_owned(),
        nonce: "0123456789abcdef0123456789abcdef".to_owned(),
        issued_at: "2027-01-15T08:00:00.000Z".to_owned(),
        resources: Some(vec!["https://api.example.com/data?x=1".to_owned()]),
        ..Info::default()
    }
}

fn full_info() -> Info {
    Info {
        statement: Some("Sign in to read what you paid for".to_owned()),
        expiration_time: Some("2027-01-15T08:05:00.000Z".to_owned()),
        not_before: Some("2027-01-15T08:00:00.000Z".to_owned()),
        request_id: Some("request-7".to_owned()),
        resources: Some(vec!["https://api.example.com/data".to_owned(), "https://api.example.com/more".to_owned()]),
        ..plain_info()
    }
}

fn text(format: MessageFormat, info: &Info) -> String {
    let (account, network) = match format {
        MessageFormat::Siwe => (ACCOUNT, "eip155:84532"),
        MessageFormat::Siws => (SOLANA_ACCOUNT, SOLANA),
    };
    let message = Message::new(format, info, &account.parse().unwrap(), &network.parse().unwrap()).unwrap();
    message.as_str().to_owned()
}

fn signed(info: Info) -> SignIn {
    let challenge = Challenge {
        supported_chains: vec![SupportedChain {
            chain_id: network().to_string(),
            signature_type: "eip191".to_owned(),
            signature_scheme: None,
        }],
        info,
    };
    finished(challenge.sign(&origin(), &[], &Plain::evm())).unwrap().unwrap()
}

fn checked(sign_in: &SignIn, now: UnixSeconds) -> Result<SignedIn, SignInError> {
    checked_by(Plain::evm(), sign_in, now)
}

fn checked_by(verifier: Plain, sign_in: &SignIn, now: UnixSeconds) -> Result<SignedIn, SignInError> {
    let verifiers: [Arc<dyn MessageVerifier>; 1] = [Arc::new(verifier)];
    let (origin, networks) = (origin(), [network()]);
    finished(check(sign_in, &Expected { origin: &origin, networks: &networks, verifiers: &verifiers, now }))
}

fn reason(sign_in: &SignIn, now: UnixSeconds) -> Reason {
    checked(sign_in, now).unwrap_err().refusal().reason.clone()
}

#[test]
fn the_texts_are_those_of_the_official_sdk() {
    assert_eq!(
        text(MessageFormat::Siwe, &full_info()),
        "api.example.com wants you to sign in with your Ethereum account:\n0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266\n\n\
         Sign in to read what you paid for\n\nURI: https://api.example.com/data?x=1\nVersion: 1\nChain ID: 84532\n\
         Nonce: 0123456789abcdef0123456789abcdef\nIssued At: 2027-01-15T08:00:00.000Z\n\
         Expiration Time: 2027-01-15T08:05:00.000Z\nNot Before: 2027-01-15T08:00:00.000Z\nRequest ID: request-7\n\
         Resources:\n- https://api.example.com/data\n- https://api.example.com/more"
    );
    assert_eq!(
        text(MessageFormat::Siws, &full_info()),
        "api.example.com wants you to sign in with your Solana account:\nBSmWDgE9ex6dZYbiTsJGcwMEgFp8q4aWh92hdErQPeVW\n\n\
         Sign in to read what you paid for\n\nURI: https://api.example.com/data?x=1\nVersion: 1\n\
         Chain ID: 5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp\nNonce: 0123456789abcdef0123456789abcdef\n\
         Issued At: 2027-01-15T08:00:00.000Z\nExpiration Time: 2027-01-15T08:05:00.000Z\n\
         Not Before: 2027-01-15T08:00:00.000Z\nRequest ID: request-7\nResources:\n- https://api.example.com/data\n\
         - https://api.example.com/more"
    );
}

#[test]
fn what_is_left_out_or_empty_leaves_the_lines_of_the_official_sdk() {
    let tail = "URI: https://api.example.com/data?x=1\nVersion: 1\nChain ID: 84532\n\
                Nonce: 0123456789abcdef0123456789abcdef\nIssued At: 2027-01-15T08:00:00.000Z";
    let head = format!("api.example.com wants you to sign in with your Ethereum account:\n{ACCOUNT}\n\n");
    let bare = Info { resources: None, ..plain_info() };
    let empty = |text: &str| Some(text.to_owned());
    for (info, expected) in [
        (bare.clone(), format!("{head}\n{tail}")),
        (Info { statement: empty(""), ..bare.clone() }, format!("{head}\n\n{tail}")),
        (Info { request_id: empty(""), ..bare.clone() }, format!("{head}\n{tail}\nRequest ID: ")),
        (Info { resources: Some(vec![]), ..bare.clone() }, format!("{head}\n{tail}\nResources:")),
    ] {
        assert_eq!(text(MessageFormat::Siwe, &info), expected);
    }
    let solana = format!(
        "api.example.com wants you to sign in with your Solana account:\n{SOLANA_ACCOUNT}\n\n{}",
        tail.replace("84532", "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp")
    );
    let all_empty = Info { statement: empty(""), request_id: empty(""), resources: Some(vec![]), ..bare.clone() };
    for info in [bare, all_empty] {
        assert_eq!(text(MessageFormat::Siws, &info), solana);
    }
}

#[test]
fn the_header_is_the_official_one_and_is_read_back() {
    let official = header::encode_bytes(SIGN_IN);
    let sign_in = header::decode_sign_in(official.as_bytes()).unwrap();
    assert_eq!(sign_in.info, full_info());
    assert_eq!((sign_in.address.as_str(), sign_in.chain_id.as_str()), (ACCOUNT, "eip155:84532"));
    assert_eq!(header::encode(&sign_in).unwrap(), official);
    assert!(!format!("{sign_in:?}").contains("47fde4721e"));
}

#[test]
fn a_header_that_is_no_sign_in_is_refused() {
    let long = "A".repeat(header::MAX_SIGN_IN_BYTES + 1);
    let array = header::encode_bytes("[]");
    let wrong = header::encode_bytes(r#"{"domain":7}"#);
    for bad in ["", "{}", "e30=", &array, &wrong, &long] {
        let refusal = header::decode_sign_in(bad.as_bytes()).unwrap_err();
        assert_eq!(refusal.reason, Reason::InvalidPayload);
        assert!(refusal.message.starts_with("sign-in header: "), "{refusal}");
    }
}

#[test]
fn a_server_declares_a_challenge_that_is_new_each_time() {
    let terms = SignInTerms::new(origin(), Some("Sign in to read what you paid for")).unwrap();
    let info = terms.challenge("/data?x=1", &Sevens, NOW).unwrap();
    let networks = [(network(), MessageFormat::Siwe), (SOLANA.parse().unwrap(), MessageFormat::Siws)];
    let declared = declaration(&info, &networks);
    assert_eq!(
        declared["info"],
        json!({
            "domain": "api.example.com", "uri": "https://api.example.com/data?x=1", "version": "1",
            "nonce": "07070707070707070707070707070707", "issuedAt": "2027-01-15T08:00:00.000Z",
            "expirationTime": "2027-01-15T08:05:00.000Z", "statement": "Sign in to read what you paid for",
            "resources": ["https://api.example.com/data?x=1"],
        })
    );
    let chains = json!([{"chainId": "eip155:84532", "type": "eip191"}, {"chainId": SOLANA, "type": "ed25519"}]);
    assert_eq!(declared["supportedChains"], chains);
    let required = ["domain", "address", "uri", "version", "chainId", "type", "nonce", "issuedAt", "signature"];
    assert_eq!(declared["schema"]["required"], json!(required));
    assert_eq!(declared["schema"]["properties"]["resources"]["items"], json!({"type": "string", "format": "uri"}));
}

#[test]
fn a_statement_that_no_wallet_signs_is_refused_at_once() {
    for bad in ["two\nlines", "Grüße", "a \"quote\"", "50%", &"a".repeat(MAX_FIELD_BYTES + 1)] {
        assert!(SignInTerms::new(origin(), Some(bad)).is_err(), "{bad:?}");
    }
}

#[test]
fn whatever_is_asked_for_makes_a_uri() {
    let terms = SignInTerms::new(origin(), None).unwrap();
    for (target, uri) in [
        ("/", "https://api.example.com/"),
        ("data", "https://api.example.com/data"),
        ("/a b\"{}?q=é#x", "https://api.example.com/a%20b%22%7B%7D?q=%C3%A9%23x"),
        ("/%2F", "https://api.example.com/%2F"),
        ("//evil.example/", "https://api.example.com//evil.example/"),
    ] {
        let info = terms.challenge(target, &Sevens, NOW).unwrap();
        assert_eq!(info.uri, uri);
        check_fields(&info, &origin(), NOW).unwrap();
        text(MessageFormat::Siwe, &info);
    }
}

#[test]
fn a_client_signs_what_its_server_declared_and_the_server_lets_it_in() {
    let terms = SignInTerms::new(origin(), None).unwrap();
    let info = terms.challenge("/data", &Sevens, NOW).unwrap();
    let mut extensions = Extensions::default();
    extensions.set(KEY, &declaration(&info, &[(network(), MessageFormat::Siwe)])).unwrap();
    let challenge = Challenge::of(&extensions).unwrap().unwrap();
    let sign_in = finished(challenge.sign(&origin(), &[], &Plain::evm())).unwrap().unwrap();
    let read = header::decode_sign_in(header::encode(&sign_in).unwrap().as_bytes()).unwrap();
    assert_eq!(read, sign_in);
    let signed_in = checked(&read, NOW.plus(MAX_AGE_SECONDS)).unwrap();
    assert_eq!((signed_in.account().as_str(), signed_in.network()), (ACCOUNT, &network()));
    assert_eq!(Challenge::of(&Extensions::default()).unwrap(), None);
}

#[test]
fn a_client_signs_only_for_the_server_that_it_talks_to() {
    let challenge = Challenge { info: plain_info(), supported_chains: vec![] };
    for (other, expected) in [
        ("https://other.example", Reason::InvalidSiwxDomainMismatch),
        ("https://api.example.com:444", Reason::InvalidSiwxDomainMismatch),
        ("http://api.example.com", Reason::InvalidSiwxUriMismatch),
    ] {
        match finished(challenge.sign(&other.parse().unwrap(), &[], &Plain::evm())) {
            Err(SignError::Challenge(refusal)) => assert_eq!(refusal.reason, expected, "{other}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_client_takes_the_network_that_it_prefers_of_those_it_can_sign_for() {
    let chain = |chain_id: &str, signature_type: &str| SupportedChain {
        chain_id: chain_id.to_owned(),
        signature_type: signature_type.to_owned(),
        signature_scheme: None,
    };
    let supported_chains = vec![
        chain("not a network", "eip191"),
        chain(SOLANA, "ed25519"),
        chain("eip155:7", "ed25519"),
        chain("eip155:10", "eip191"),
        chain("eip155:1", "eip191"),
        chain("eip155:8453", "eip191"),
    ];
    let challenge = Challenge { info: plain_info(), supported_chains };
    let chosen = |preferred: &[Network]| {
        let sign_in = finished(challenge.sign(&origin(), preferred, &Plain::evm())).unwrap();
        sign_in.map(|sign_in| sign_in.chain_id)
    };
    assert_eq!(chosen(&[]).as_deref(), Some("eip155:1"));
    assert_eq!(chosen(&[network(), "eip155:8453".parse().unwrap()]).as_deref(), Some("eip155:8453"));
    let none = Challenge { supported_chains: vec![chain(SOLANA, "ed25519")], info: plain_info() };
    assert_eq!(finished(none.sign(&origin(), &[], &Plain::evm())).unwrap(), None);
    let locked = Plain { breaks: true, ..Plain::evm() };
    assert!(matches!(finished(challenge.sign(&origin(), &[], &locked)), Err(SignError::Wallet(_))));
}

#[test]
fn fields_are_refused_in_the_protocols_order() {
    let good = full_info();
    let at = |text: &str| text.to_owned();
    let cases: Vec<(Info, Reason)> = vec![
        (Info { domain: at("evil.example"), ..good.clone() }, Reason::InvalidSiwxDomainMismatch),
        (Info { domain: at("API.example.com"), ..good.clone() }, Reason::InvalidSiwxDomainMismatch),
        (Info { uri: at("https://evil.example/data"), ..good.clone() }, Reason::InvalidSiwxUriMismatch),
        (Info { uri: at("http://api.example.com/data"), ..good.clone() }, Reason::InvalidSiwxUriMismatch),
        (Info { uri: at("https://api.example.com@evil.example/"), ..good.clone() }, Reason::InvalidSiwxUriMismatch),
        (Info { uri: at("/data"), ..good.clone() }, Reason::InvalidSiwxUriMismatch),
        (Info { issued_at: at("yesterday"), ..good.clone() }, Reason::InvalidSiwxIssuedAt),
        (Info { issued_at: at("2027-01-15T07:54:59.999Z"), ..good.clone() }, Reason::InvalidSiwxIssuedAtTooOld),
        (Info { issued_at: at("2027-01-15T08:00:06Z"), ..good.clone() }, Reason::InvalidSiwxIssuedAtInFuture),
        (Info { expiration_time: Some(at("")), ..good.clone() }, Reason::InvalidSiwxExpirationTime),
        (Info { expiration_time: Some(at("2027-01-15T07:59:59Z")), ..good.clone() }, Reason::InvalidSiwxExpired),
        (Info { not_before: Some(at("soon")), ..good.clone() }, Reason::InvalidSiwxNotBefore),
        (Info { not_before: Some(at("2027-01-15T08:00:01Z")), ..good.clone() }, Reason::InvalidSiwxNotYetValid),
        (Info { nonce: at("1234567"), ..good.clone() }, Reason::InvalidSiwxNonce),
        (Info { nonce: at("1234-5678"), ..good.clone() }, Reason::InvalidSiwxNonce),
        (Info { nonce: "a".repeat(MAX_NONCE_CHARS + 1), ..good.clone() }, Reason::InvalidSiwxNonce),
    ];
    // A sign-in that is wrong from one field on is refused for the first of them.
    let mut so_far = signed(good);
    for (info, expected) in cases.into_iter().rev() {
        assert_eq!(check_fields(&info, &origin(), NOW).unwrap_err().reason, expected, "{info:?}");
        so_far.info = info;
        assert_eq!(reason(&so_far, NOW), expected);
    }
    let worst = Info { domain: at("x"), uri: at("x"), issued_at: at("x"), nonce: at("x"), ..Info::default() };
    assert_eq!(check_fields(&worst, &origin(), NOW).unwrap_err().reason, Reason::InvalidSiwxDomainMismatch);
}

#[test]
fn clocks_of_nodes_may_differ_a_little() {
    let issued_at = "2027-01-15T08:00:05Z".to_owned();
    let info = Info { issued_at, not_before: None, ..full_info() };
    check_fields(&info, &origin(), NOW).unwrap();
}

#[test]
fn fields_that_could_make_another_text_are_refused() {
    let good = full_info();
    let some = |text: &str| Some(text.to_owned());
    for info in [
        Info { statement: some("free\n\nURI: https://evil.example/"), ..good.clone() },
        Info { request_id: some("7\nResources:"), ..good.clone() },
        Info { request_id: some("a b"), ..good.clone() },
        Info { resources: Some(vec!["https://api.example.com/\n- https://x".to_owned()]), ..good.clone() },
        Info { resources: Some(vec!["no uri".to_owned()]), ..good.clone() },
        Info { resources: Some(vec!["urn:x".to_owned(); MAX_RESOURCES + 1]), ..good.clone() },
        Info { version: "2".to_owned(), ..good.clone() },
        Info { version: "1\nChain ID: 1".to_owned(), ..good.clone() },
        Info { uri: "https://api.example.com/\nVersion: 1".to_owned(), ..good.clone() },
        Info { uri: "https://api.example.com/a b".to_owned(), ..good.clone() },
        Info { domain: "api.example.com\n".to_owned(), ..good.clone() },
        Info { domain: String::new(), ..good },
    ] {
        for (format, network) in [(MessageFormat::Siwe, network()), (MessageFormat::Siws, SOLANA.parse().unwrap())] {
            let refusal = Message::new(format, &info, &ACCOUNT.parse().unwrap(), &network).unwrap_err();
            assert!(refusal.message.starts_with("sign-in: "), "{refusal}");
        }
    }
}

#[test]
fn chains_that_were_not_offered_are_refused() {
    let good = signed(plain_info());
    for (chain_id, expected) in [
        ("base-sepolia", Reason::InvalidSiwxChainId),
        ("eip155:", Reason::InvalidSiwxChainId),
        ("eip155:1", Reason::InvalidSiwxUnsupportedChain),
        ("eip155:084532", Reason::InvalidSiwxUnsupportedChain),
        (SOLANA, Reason::InvalidSiwxUnsupportedChain),
    ] {
        let sign_in = SignIn { chain_id: chain_id.to_owned(), ..good.clone() };
        assert_eq!(reason(&sign_in, NOW), expected, "{chain_id}");
    }
    let other_type = SignIn { signature_type: "ed25519".to_owned(), ..good };
    assert_eq!(reason(&other_type, NOW), Reason::InvalidSiwxUnsupportedChain);
    for bad in ["eip155:01", "eip155:0x1"] {
        let network = bad.parse().unwrap();
        let refusal = Message::new(MessageFormat::Siwe, &plain_info(), &ACCOUNT.parse().unwrap(), &network).unwrap_err();
        assert_eq!(refusal.reason, Reason::InvalidSiwxChainId);
    }
}

#[test]
fn signatures_that_are_not_the_accounts_let_nobody_in() {
    let good = signed(plain_info());
    let other = SignIn { signature: "signed:somebody else".to_owned(), ..good.clone() };
    assert_eq!(reason(&other, NOW), Reason::InvalidSiwxSignature);
    let changed = SignIn { info: Info { resources: None, ..plain_info() }, ..good.clone() };
    assert_eq!(reason(&changed, NOW), Reason::InvalidSiwxSignature);
    let empty = SignIn { signature: String::new(), ..good.clone() };
    assert_eq!(reason(&empty, NOW), Reason::InvalidSiwxMalformedSignature);
    let nobody = SignIn { address: "nobody".parse().unwrap(), ..good.clone() };
    assert_eq!(reason(&nobody, NOW), Reason::InvalidSiwxMalformedSignature);
    let error = checked_by(Plain { breaks: true, ..Plain::evm() }, &good, NOW).unwrap_err();
    assert_eq!(error.refusal().reason, Reason::InvalidSiwxVerifierError);
    assert!(matches!(&error, SignInError::Unavailable { .. }) && !error.to_string().contains("secret"));
}

#[test]
fn an_account_has_one_name_however_it_is_written() {
    let lower = SignIn { address: ACCOUNT.to_lowercase().parse().unwrap(), ..signed(plain_info()) };
    assert_eq!(checked(&lower, NOW).unwrap().account().as_str(), ACCOUNT);
}

#[test]
fn what_was_paid_for_opens_once_for_each_sign_in() {
    let book = MemorySignIns::default();
    let (first, second) = (signed(plain_info()), signed(Info { nonce: "f".repeat(32), ..plain_info() }));
    let (first, second) = (checked(&first, NOW).unwrap(), checked(&second, NOW).unwrap());
    let entered = |signed_in, paid| finished(enter(&book, signed_in, paid, NOW)).unwrap();
    assert_eq!(entered(&first, Some("/data")), Entry::Unpaid);
    let payer = ACCOUNT.parse().unwrap();
    let grant = Grant { resource: "/data".to_owned(), network: network(), payer, until: None };
    finished(book.grant(&grant)).unwrap();
    assert_eq!(entered(&first, Some("/other")), Entry::Unpaid);
    assert_eq!(entered(&first, Some("/data")), Entry::Granted, "being told to pay uses nothing up");
    let Entry::Refused(refusal) = entered(&first, Some("/data")) else { panic!("it was used") };
    assert_eq!(refusal.reason, Reason::InvalidSiwxNonce);
    assert_eq!(entered(&second, None), Entry::Granted, "who they are is enough where nothing is asked for");
    assert!(matches!(entered(&second, None), Entry::Refused(_)));
}
