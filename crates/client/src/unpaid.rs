//! Between the terms and the payment: whether anybody may be paid on this way, and what hooks try before they pay.

use farthing_core::header;
use farthing_core::wire::PaymentRequired;

use crate::error::{Declined, Error, Rule};
use crate::exchange::{self, Asked, Demand, Outgoing};
use crate::hooks::PaymentDemand;
use crate::http::Inner;
use crate::origin::{self, fit_to_show, origin_of};
use crate::paid;
use crate::payer::Purchase;
use crate::response::Response;
use crate::terms::Terms;

/// Gets what was asked: without paying, if a hook's headers open it, and else for payment.
pub(crate) async fn buy(inner: &Inner, asked: Asked, required: PaymentRequired, purchase: Purchase) -> Result<Response, Error> {
    if let Some(declined) = exposure(inner, &asked) {
        return Err(Error::RefusedByPolicy(declined));
    }
    let purchase = purchase_of(&asked.outgoing, purchase);
    inner.payer.admits(&required, &purchase).map_err(Error::RefusedByPolicy)?;
    match ask_with_headers(inner, &asked.outgoing, required).await? {
        Demand::Nothing(response) => Ok(response),
        Demand::Payment(required) => paid::pay(inner, asked, &required, &purchase).await,
    }
}

/// Asks once more, with the headers of the first hook that has some; the newest terms are what is asked for. Goes nowhere
/// else: a redirect is the answer.
async fn ask_with_headers(inner: &Inner, outgoing: &Outgoing, required: PaymentRequired) -> Result<Demand, Error> {
    let demand = PaymentDemand { required: &required, url: &outgoing.url };
    let headers = inner.payer.hooks().headers(&demand).await.map_err(Error::RefusedByPolicy)?;
    let Some(headers) = headers else { return Ok(Demand::Payment(required)) };
    if let Some(name) = [header::PAYMENT_SIGNATURE, header::X_PAYMENT].into_iter().find(|name| headers.contains_key(*name)) {
        let why = format!("a hook supplied the header {name}, which only this client makes; nothing is paid");
        return Err(Error::RefusedByPolicy(Declined::rule(Rule::HookFailed, why)));
    }
    let mut again = outgoing.clone();
    again.headers.extend(headers);
    exchange::ask_once(inner, &again).await
}

/// What [`buy`] would do, as long as no hook has a say.
pub(crate) async fn consider(
    inner: &Inner,
    asked: &Asked,
    required: &PaymentRequired,
    purchase: Purchase,
) -> Result<Terms, Error> {
    let consideration = inner.payer.consider(required, &purchase_of(&asked.outgoing, purchase)).await?;
    let refusal = exposure(inner, asked).map(|declined| declined.to_string());
    Ok(Terms::of(fit_to_show(&asked.outgoing.url), required, &consideration, refusal))
}

/// The purchase that the caller began, with what is known of it now.
fn purchase_of(outgoing: &Outgoing, purchase: Purchase) -> Purchase {
    Purchase { resource: fit_to_show(&outgoing.url), host: outgoing.url.host_str().map(str::to_owned), ..purchase }
}

/// Why nobody can be paid on this way, whatever the offers.
fn exposure(inner: &Inner, asked: &Asked) -> Option<Declined> {
    let Asked { outgoing, crossing } = asked;
    if let Some((from, to)) = crossing {
        let (from, to) = (origin_of(from), origin_of(to));
        let why = format!(
            "{from} was asked, and redirected to {to}, which asks for payment; redirects to another origin are not paid. If \
             you trust {to}, ask it directly"
        );
        return Some(Declined::rule(Rule::CrossOriginRedirect, why));
    }
    if origin::is_exposed(&outgoing.url) && !inner.payer.controls().allows_plain_http() {
        let why = format!(
            "{} asks for payment over unencrypted HTTP, where anybody on the way can change the terms; use https, or allow \
             plain HTTP",
            origin_of(&outgoing.url)
        );
        return Some(Declined::rule(Rule::PlainHttp, why));
    }
    None
}
