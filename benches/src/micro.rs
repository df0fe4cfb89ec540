//! What one payment costs without any I/O, part by part.

use anyhow::ensure;
use farthing::evm::exact::{Payload, SignedAuthorization};
use farthing::evm::transfer::eip3009::Authorization;
use farthing::evm::{Address, B256};
use farthing_core::header;

use crate::limits::Bare;
use crate::measure::{beside, repeat};
use crate::report::{Report, Row};
use crate::sample::Sample;

pub fn run(report: &mut Report) -> anyhow::Result<()> {
    let (sample, bare) = (Sample::new()?, Bare::new()?);
    let domain = sample.asset.domain_separator;
    let signed = sample.sign(0, sample.authorization(0)?)?;
    let value = bare.header_text().as_bytes();
    ensure!(whole(value, domain).is_some(), "the sample payment is not good");

    let mut tell = |what: &str, (cost, limit)| report.add(Row::new("-", what, cost, "µs").against(limit));
    let decode = beside(repeat(|| header::decode_payment(value)), repeat(|| bare.header()));
    tell(&format!("payment header of {} bytes, read and checked", value.len()), decode);
    let digest = beside(repeat(|| signed.authorization.digest(domain)), repeat(|| bare.digest()));
    tell("EIP-712 digest under a cached domain", digest);
    let signature = beside(repeat(|| signer(&signed, domain)), repeat(|| bare.signature()));
    tell("signature, from text to the signer's address", signature);
    let all = beside(repeat(|| whole(value, domain)), repeat(|| bare.check()));
    tell("whole local check, from header to signer", all);
    Ok(())
}

fn signer(signed: &SignedAuthorization, domain: B256) -> Option<Address> {
    let SignedAuthorization { signature, authorization } = signed;
    signature.strict().ok()?.signer(authorization.digest(domain)).ok()
}

fn whole(value: &[u8], domain: B256) -> Option<Authorization> {
    let payment = header::decode_payment(value).ok()?;
    let payload: Payload = serde_json::from_str(payment.payload.raw()).ok()?;
    let Payload::Eip3009(signed) = payload else { return None };
    (signer(&signed, domain)? == signed.authorization.from).then_some(signed.authorization)
}
