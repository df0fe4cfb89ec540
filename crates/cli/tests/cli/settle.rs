//! `farthing facilitator` settles: through several nodes, in the tokens that are allowed, and to the end when it is stopped.

use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use farthing::evm::U256;
use farthing_devnet::Fault;

use crate::chain::{CENT, Chain};
use crate::market::NETWORK;
use crate::operator::{Operator, Running, config, network};
use crate::run::post;

const ON_ANY_PORT: &str = "[facilitator]\nlisten = \"127.0.0.1:0\"\n";

#[test]
fn a_book_belongs_to_one_process_at_a_time() {
    let chain = Chain::open();
    let operator = Operator::new("locked", &config(NETWORK, &chain.rpc_url()));
    let running = operator.start();
    let ended = operator.facilitator().run().with_code(1);
    let book = operator.folder.at("farthing.db");
    assert!(ended.stderr.contains(&format!("the book sqlite:{} cannot be used", book.display())), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("is open in another process")
            && ended.stderr.contains("stop the other one, or keep the book in PostgreSQL"),
        "{}",
        ended.stderr
    );
    running.service.end("TERM").with_code(0);
    operator.start().service.end("TERM").with_code(0);
}

#[test]
fn a_relative_book_is_beside_the_configuration() {
    let chain = Chain::open();
    let config = config(NETWORK, &chain.rpc_url()).replace("[network", "store = \"sqlite:of-mine.db\"\n[network");
    let operator = Operator::new("relative", &config);
    let running = operator.start();
    let book = operator.folder.at("of-mine.db");
    assert_eq!(running.facts["store"], format!("sqlite:{}", book.display()));
    assert!(book.exists());
    running.service.end("TERM").with_code(0);
}

#[test]
fn what_is_wrong_with_the_configuration_leaves_no_book_behind() {
    let operator =
        Operator::new("no-book", &config(NETWORK, "http://127.0.0.1:1").replace("env:FACILITATOR_KEY", "env:NOT_SET"));
    operator.facilitator().run().with_code(1);
    assert!(!operator.folder.at("farthing.db").exists());
}

#[test]
fn a_settlement_under_way_is_finished_after_sigterm() {
    let chain = Chain::open();
    let operator = Operator::new("drain", &config(NETWORK, &chain.rpc_url()));
    let running = operator.start();
    let payment = chain.payment();
    let broadcast = chain.at_the_next_broadcast(Fault::Delay(Duration::from_millis(500)));
    let settle = running.at("/settle");
    let asked = thread::spawn(move || post(&settle, &[], &payment));
    broadcast();
    running.service.signal("TERM");
    let host = running.url.strip_prefix("http://").unwrap();
    while TcpStream::connect(host).is_ok() {
        thread::yield_now();
    }
    // Nothing is taken any more; what was taken is answered.
    let (status, answer) = asked.join().unwrap().expect("it ended without an answer");
    assert_eq!((status, answer["success"].as_bool()), (200, Some(true)), "{answer}");
    assert_eq!(chain.earned(), CENT);
    running.service.ended().with_code(0);
    let [entry] = &operator.ledger(&["list"])[..] else { panic!("one payment") };
    assert_eq!((&entry["state"], &entry["transaction"]), (&"settled".into(), &answer["transaction"]));
}

#[test]
fn a_dead_node_and_one_of_another_chain_are_passed_over() {
    let (chain, other) = (Chain::open(), Chain::with_id(8_453));
    let nodes = format!("[\"http://127.0.0.1:1/SECRET\", {:?}, {:?}]", other.rpc_url(), chain.rpc_url());
    let operator = Operator::new("nodes", &format!("{ON_ANY_PORT}{}", network(NETWORK, &nodes)));
    let Running { service, url, .. } = operator.start();
    let (status, answer) = post(&format!("{url}/settle"), &[], &chain.payment()).unwrap();
    assert_eq!((status, answer["success"].as_bool()), (200, Some(true)), "{answer}");
    assert_eq!((chain.earned(), other.earned()), (CENT, U256::ZERO));
    let ended = service.end("TERM").with_code(0);
    assert!(!ended.stderr.contains("SECRET"), "{}", ended.stderr);
}

#[test]
fn a_token_that_is_not_on_the_list_is_refused() {
    let chain = Chain::open();
    let own = "0x00000000000000000000000000000000000000aA";
    let config = format!(
        "{}assets = [{own:?}]\n[[asset]]\nnetwork = {NETWORK:?}\naddress = {own:?}\nsymbol = \"OWN\"\ndecimals = 6\n\
         name = \"Own\"\nversion = \"1\"\n",
        config(NETWORK, &chain.rpc_url())
    );
    let operator = Operator::new("assets", &config);
    let Running { service, url, .. } = operator.start();
    for endpoint in ["verify", "settle"] {
        let (status, answer) = post(&format!("{url}/{endpoint}"), &[], &chain.payment()).unwrap();
        assert_eq!(status, 200, "{answer}");
        assert!(answer["isValid"] == false || answer["success"] == false, "{answer}");
    }
    assert_eq!(chain.earned(), U256::ZERO);
    service.end("TERM").with_code(0);
}
