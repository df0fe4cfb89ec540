//! A buyer of a test: presents one signed payment for one thing over HTTP, the same again and again, until there is nothing
//! more to hope for.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use farthing_core::header;
use farthing_core::reason::Reason;
use farthing_core::wire::{Extensions, PaymentPayload, PaymentRequired, PaymentRequirements, Verbatim};
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::seller::Goods;

/// How long one answer may take. A standby lets its callers wait for a while.
const TIMEOUT: Duration = Duration::from_secs(15);
/// How long a buyer waits before it asks again: less than it is told to, so that it asks at every bad moment.
const PAUSE: Duration = Duration::from_millis(25);

/// How a shop is found.
#[derive(Clone, Debug, Default)]
pub struct Doors {
    /// Its nodes, the one that is asked first in front.
    pub urls: Vec<String>,
    /// Whether the first node's first life is over.
    pub has_crashed: bool,
}

/// Somebody who has a payment, or a copy of it.
#[derive(Clone, Debug)]
pub struct Buyer {
    http: reqwest::Client,
    doors: watch::Receiver<Doors>,
    patience: Duration,
}

/// What came of a payment that was presented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bought {
    /// What it was for.
    Served {
        /// By which node.
        by: String,
        /// The transaction in which it was paid for, as the server says.
        transaction: String,
    },
    /// Nothing, for good.
    Refused(Reason),
}

/// One visit to the shop.
#[derive(Clone, Debug)]
pub struct Visit {
    /// How it ended.
    pub bought: Bought,
    /// How often the payment was presented until then.
    pub presented: u64,
}

struct Heard {
    by: String,
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Buyer {
    /// Somebody who knows the shop.
    pub fn new(doors: watch::Receiver<Doors>, patience: Duration) -> Result<Self> {
        // A connection for each request: whether the one before survived is no news of the next.
        let http = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).pool_max_idle_per_host(0).build()?;
        Ok(Self { http, doors, patience })
    }

    /// Waits until the first node's first life is over.
    pub async fn hears_of_the_crash(&self) -> Result<()> {
        self.doors.clone().wait_for(|doors| doors.has_crashed).await?;
        Ok(())
    }

    /// The one offer that is made for it, and what the terms say besides.
    pub async fn offer(&self, goods: &Goods) -> Result<(Verbatim<PaymentRequirements>, Extensions)> {
        let (heard, _) = self.insist(goods, None).await?;
        ensure!(heard.status == StatusCode::PAYMENT_REQUIRED, "expected terms, got {} {}", heard.status, heard.body);
        let terms = heard.terms()?;
        Ok((terms.accepts.into_iter().next().context("the shop makes an offer")?, terms.extensions))
    }

    /// Presents a payment for it until it is served or refused for good.
    pub async fn present(&self, goods: &Goods, payment: &PaymentPayload) -> Result<Visit> {
        let text = header::encode(payment)?;
        let (heard, presented) = self.insist(goods, Some(&text)).await?;
        let bought = match heard.status {
            StatusCode::OK => {
                ensure!(heard.body.contains(&goods.report()), "asked for {}, got {:?}", goods.path(), heard.body);
                let settlement = heard.header(header::PAYMENT_RESPONSE)?;
                let settlement = header::decode_settlement(settlement)?;
                ensure!(settlement.success, "{} was served without a settlement: {settlement:?}", goods.path());
                Bought::Served { transaction: settlement.transaction, by: heard.by }
            }
            StatusCode::PAYMENT_REQUIRED => {
                let error = heard.terms()?.error.context("a refusal has a reason")?;
                Bought::Refused(Reason::from(error.as_str()))
            }
            status => bail!("{} was answered {status}: {}", goods.path(), heard.body),
        };
        Ok(Visit { bought, presented })
    }

    /// Asks until there is an answer that is not "later", and says how often that was.
    async fn insist(&self, goods: &Goods, payment: Option<&str>) -> Result<(Heard, u64)> {
        let deadline = Instant::now() + self.patience;
        let mut last = "nobody was there".to_owned();
        let mut asked = 0_u64;
        while Instant::now() < deadline {
            let urls = self.doors.borrow().urls.clone();
            let turn = usize::try_from(asked)?.checked_rem(urls.len()).unwrap_or_default();
            if let Some(url) = urls.get(turn) {
                asked = asked.saturating_add(1);
                match self.ask(url, goods.path(), payment).await {
                    Ok(heard) if !heard.says_later() => return Ok((heard, asked)),
                    Ok(heard) => last = format!("{} {}", heard.status, heard.body),
                    Err(error) => last = format!("{error:?}"),
                }
            }
            sleep(PAUSE).await;
        }
        bail!("no answer for {} within {:?}; asked {asked} times, at last: {last}", goods.path(), self.patience)
    }

    async fn ask(&self, url: &str, path: &str, payment: Option<&str>) -> Result<Heard, reqwest::Error> {
        let mut request = self.http.get(format!("{url}{path}"));
        if let Some(payment) = payment {
            request = request.header(header::PAYMENT_SIGNATURE, payment);
        }
        let answer = request.send().await?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        Ok(Heard { by: url.to_owned(), status, headers, body: answer.text().await? })
    }
}

impl Heard {
    fn says_later(&self) -> bool {
        matches!(self.status, StatusCode::CONFLICT | StatusCode::SERVICE_UNAVAILABLE)
    }

    fn header(&self, name: &str) -> Result<&[u8]> {
        Ok(self.headers.get(name).with_context(|| format!("{} without {name}", self.status))?.as_bytes())
    }

    fn terms(&self) -> Result<PaymentRequired> {
        Ok(header::decode_required(self.header(header::PAYMENT_REQUIRED)?)?)
    }
}
