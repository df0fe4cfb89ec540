//! Limits hold under concurrency.

use farthing_client::Error;

use crate::support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_limit_of_five_cents_pays_exactly_five_of_a_hundred_at_once() {
    let seller = Seller::honest().await;
    let buyer = Buyer::with(Wallet::default(), |builder| builder.limit("$0.05 per day").unwrap());
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let request = buyer.client.get(seller.url("/report"));
            tokio::spawn(request.send())
        })
        .collect();
    let (mut paid, mut refused) = (0, 0);
    for call in calls {
        match call.await.unwrap() {
            Ok(answer) if answer.paid().is_some() => paid += 1,
            Err(Error::RefusedByPolicy(declined)) => {
                assert!(declined.to_string().contains("over the limit of $0.05 per day"), "{declined}");
                refused += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((paid, refused), (5, 95));
    assert_eq!((seller.payments().len(), buyer.wallet.signed()), (5, 5));
}

#[tokio::test]
async fn a_payment_that_failed_counts_against_the_limit_all_the_same() {
    let seller = Seller::start(|_, base| Some(asks(&cent(base)))).await;
    let buyer = Buyer::with(Wallet::default(), |builder| builder.limit("$0.01 in total").unwrap());
    let first = buyer.client.get(seller.url("/report")).send().await.unwrap_err();
    assert!(matches!(first, Error::Rejected(_)), "{first}");
    let second = buyer.client.get(seller.url("/report")).send().await.unwrap_err();
    assert!(matches!(second, Error::RefusedByPolicy(_)), "{second}");
    assert_eq!(buyer.wallet.signed(), 1);
}
