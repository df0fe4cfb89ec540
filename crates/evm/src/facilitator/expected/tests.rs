use super::*;
use crate::transfer::permit2::{Authorization, PERMIT2, Permitted, Witness};
use alloy_primitives::Bytes;

const ASSET: Address = Address::repeat_byte(1);
const PAYER: Address = Address::repeat_byte(2);
const PAY_TO: Address = Address::repeat_byte(3);

fn ten() -> U256 {
    U256::from(10)
}

fn payment(nonce: u8) -> Expected {
    Expected { asset: ASSET, payer: PAYER, pay_to: PAY_TO, value: ten(), named: Named::Eip3009(B256::repeat_byte(nonce)) }
}

fn used(nonce: u8) -> Log {
    let topics = vec![Token::AuthorizationUsed::SIGNATURE_HASH, PAYER.into_word(), B256::repeat_byte(nonce)];
    Log { address: ASSET, topics, data: Bytes::new() }
}

fn transfer(to: Address, value: u64) -> Log {
    let topics = vec![Token::Transfer::SIGNATURE_HASH, PAYER.into_word(), to.into_word()];
    Log { address: ASSET, topics, data: U256::from(value).to_be_bytes_vec().into() }
}

fn of_another(log: Log) -> Log {
    Log { address: Address::repeat_byte(9), ..log }
}

#[test]
fn logs_say_which_payment_moved() {
    let paid = || transfer(PAY_TO, 10);
    let cases: [(&[Log], Moved); 12] = [
        (&[used(7), paid()], Moved::Exactly(ten())),
        (&[used(8), paid(), used(7), paid()], Moved::Exactly(ten())),
        (&[used(7), of_another(used(8)), of_another(paid()), paid()], Moved::Exactly(ten())),
        (&[], Moved::Nothing),
        (&[used(8), paid()], Moved::Nothing),
        (&[of_another(used(7)), of_another(paid())], Moved::Nothing),
        (&[used(7)], Moved::Otherwise),
        (&[used(7), transfer(PAY_TO, 9)], Moved::Otherwise),
        (&[used(7), transfer(PAYER, 10)], Moved::Otherwise),
        (&[used(7), transfer(PAYER, 10), used(8), paid()], Moved::Otherwise),
        (&[used(7), used(8), paid()], Moved::Otherwise),
        (&[paid()], Moved::Perhaps),
    ];
    for (logs, expected) in cases {
        assert_eq!(payment(7).moved(B256::repeat_byte(7), logs), expected, "{logs:?}");
    }
}

#[test]
fn no_transfer_counts_for_two_payments() {
    let pieces = [used(7), used(8), transfer(PAY_TO, 10), transfer(PAYER, 10)];
    for (first, second) in (0..4_usize.pow(6)).map(|number| (number, number / 64)) {
        let at = |number: usize, place: u32| pieces[number / 4_usize.pow(place) % 4].clone();
        let logs: Vec<Log> = (0..3).map(|place| at(first, place)).chain((0..3).map(|place| at(second, place))).collect();
        let moved = [7, 8]
            .map(|nonce| payment(nonce).moved(B256::repeat_byte(nonce), &logs))
            .iter()
            .filter(|moved| matches!(moved, Moved::Exactly(_)))
            .count();
        let transfers = logs.iter().filter(|log| **log == transfer(PAY_TO, 10)).count();
        assert!(moved <= transfers, "{logs:?}");
    }
}

const NOBODY: Address = Address::repeat_byte(8);
const FACTORY: Address = Address::repeat_byte(7);

fn permit2(nonce: u64) -> Expected {
    let named = Named::Permit2 { proxy: EXACT_PROXY, nonce: U256::from(nonce) };
    Expected { named, ..payment(0) }
}

fn upto(nonce: u64) -> Expected {
    let named = Named::Permit2 { proxy: UPTO_PROXY, nonce: U256::from(nonce) };
    Expected { named, ..payment(0) }
}

/// A call of a proxy for a payment.
fn call(nonce: u64, change: impl FnOnce(&mut Authorization)) -> (Address, Bytes) {
    let mut authorization = Authorization {
        from: PAYER,
        permitted: Permitted { token: ASSET, amount: ten() },
        spender: EXACT_PROXY,
        nonce: U256::from(nonce),
        deadline: U256::MAX,
        witness: Witness { to: PAY_TO, facilitator: None, valid_after: U256::ZERO },
    };
    change(&mut authorization);
    (authorization.spender, authorization.calldata(U256::from(6), &[1], None).into())
}

fn by_upto(authorization: &mut Authorization) {
    (authorization.spender, authorization.witness.facilitator) = (UPTO_PROXY, Some(NOBODY));
}

fn settled(proxy: Address) -> Log {
    Log { address: proxy, topics: vec![ExactProxy::Settled::SIGNATURE_HASH], data: Bytes::new() }
}

fn mined(calls: &[(Address, Bytes)], logs: &[Log], succeeded: bool) -> (Receipt, Sent) {
    let receipt = Receipt {
        transaction_hash: B256::repeat_byte(5),
        succeeded,
        block_number: 1,
        block_hash: B256::ZERO,
        gas_used: 1,
        effective_gas_price_wei: 1,
        data_fee_wei: None,
        logs: logs.to_vec(),
    };
    let (to, input) = match calls {
        [(to, data)] => (*to, data.clone()),
        several => {
            let of_batch = |(target, data): &(Address, Bytes)| Multicall3::Call3 {
                target: *target,
                allowFailure: true,
                callData: data.clone(),
            };
            let calls = several.iter().map(of_batch).collect();
            (MULTICALL3, Multicall3::aggregate3Call { calls }.abi_encode().into())
        }
    };
    (receipt, Sent { hash: B256::repeat_byte(5), from: NOBODY, to: Some(to), input })
}

fn judged(payment: &Expected, calls: &[(Address, Bytes)], logs: &[Log]) -> Moved {
    let (receipt, sent) = mined(calls, logs, true);
    payment.moved_by_call(&receipt, Some(&sent), |contract| contract == FACTORY)
}

#[test]
fn a_plain_call_shows_its_payment() {
    let good = [transfer(PAY_TO, 10), settled(EXACT_PROXY)];
    let same = |_: &mut Authorization| {};
    assert_eq!(judged(&permit2(7), &[call(7, same)], &good), Moved::Exactly(ten()));
    assert_eq!(judged(&permit2(7), &[call(8, same)], &good), Moved::Nothing, "it is another payment");
    assert_eq!(judged(&permit2(7), &[call(7, same)], &good[1..]), Moved::Otherwise, "a token that moves nothing");
    assert_eq!(judged(&permit2(7), &[call(7, same)], &[transfer(PAY_TO, 9), settled(EXACT_PROXY)]), Moved::Otherwise);
    let elsewhere = call(7, |authorization| authorization.witness.to = NOBODY);
    assert_eq!(judged(&permit2(7), &[elsewhere], &good), Moved::Otherwise);
    let (receipt, sent) = mined(&[call(7, same)], &good, false);
    assert_eq!(permit2(7).moved_by_call(&receipt, Some(&sent), |_| false), Moved::Nothing, "it reverted");
    assert_eq!(permit2(7).moved_by_call(&receipt, None, |_| false), Moved::Perhaps, "the call is not known");
    let router = (NOBODY, call(7, same).1);
    assert_eq!(judged(&permit2(7), &[router], &good), Moved::Perhaps, "who knows what that contract does");
    assert_eq!(judged(&permit2(7), &[(ASSET, Bytes::new())], &good), Moved::Nothing, "the token itself uses no nonce");
}

#[test]
fn less_than_the_most_moves_only_where_the_scheme_is_metered() {
    let logs = [transfer(PAY_TO, 6), settled(UPTO_PROXY)];
    assert_eq!(judged(&upto(7), &[call(7, by_upto)], &logs), Moved::Exactly(U256::from(6)));
    let too_little = Expected { value: U256::from(5), ..upto(7) };
    assert_eq!(judged(&too_little, &[call(7, by_upto)], &logs), Moved::Otherwise);
    assert_eq!(judged(&upto(7), &[call(7, by_upto)], &[transfer(PAY_TO, 6), settled(EXACT_PROXY)]), Moved::Otherwise);
    assert!(upto(7).may_be_transfer(&logs[0]) && !permit2(7).may_be_transfer(&logs[0]));
    assert!(!upto(7).may_be_transfer(&transfer(PAY_TO, 11)) && permit2(7).may_be_transfer(&transfer(PAY_TO, 10)));
}

#[test]
fn payments_of_one_transaction_are_told_apart() {
    let other = |nonce| call(nonce, |authorization| authorization.from = NOBODY);
    let ours = || call(7, |_| {});
    let one = [transfer(PAY_TO, 10), settled(EXACT_PROXY)];
    assert_eq!(judged(&permit2(7), &[other(1), ours()], &one), Moved::Exactly(ten()));
    assert_eq!(judged(&permit2(7), &[other(1), ours()], &[settled(EXACT_PROXY)]), Moved::Nothing, "only the other settled");
    assert_eq!(judged(&permit2(7), &[call(8, |_| {}), ours()], &one), Moved::Perhaps, "one of two that are alike");
    assert_eq!(judged(&permit2(7), &[(NOBODY, Bytes::new()), ours()], &one), Moved::Perhaps);
    assert_eq!(judged(&permit2(7), &[(FACTORY, Bytes::new()), ours()], &one), Moved::Exactly(ten()), "with its wallet");
    assert_eq!(judged(&permit2(7), &[ours(), ours()], &one), Moved::Exactly(ten()), "twice the same is once");
    assert_eq!(judged(&permit2(7), &[other(1), other(2)], &one), Moved::Nothing);
    let unclosed = [transfer(PAY_TO, 10), settled(UPTO_PROXY), settled(EXACT_PROXY)];
    assert_eq!(judged(&permit2(7), &[call(9, by_upto), ours()], &unclosed), Moved::Nothing, "the logs are another's");
}

#[test]
fn a_book_says_how_the_chain_names_a_payment() {
    for (payment, scheme) in [(payment(7), "exact"), (permit2(7), "exact"), (upto(300), "upto")] {
        let reference = payment.named.reference();
        assert_eq!(Named::read(&reference, scheme), Some(payment.named), "{reference}");
    }
    assert_eq!(permit2(7).named.reference(), "permit2:7");
    for bad in ["", "7", "permit2:", "permit2:x", "0x12"] {
        assert_eq!(Named::read(bad, "exact"), None, "{bad}");
    }
    assert_ne!(PERMIT2, EXACT_PROXY);
}
