// What is signed for an offer, and the payment that this makes (x402 version 2, schemes `exact` and `upto` on EVM chains).

const PERMIT2 = "0x000000000022D473030F116dDEE9F6B43aC78BA3";
// x402's proxies, which hand the money to the payee that was signed for and to nobody else.
const EXACT_PROXY = "0x402085c248EeA27D92E8b30b2C58ed07f9E20001";
const UPTO_PROXY = "0x4020A4f3b7b90ccA423B9fabCc0CE57C6C240002";
// However long a seller allows: nothing that is signed here is good for longer.
const MAX_WINDOW_SECONDS = 3600;
const NAME_KEY = "payment-identifier";
const SIGN_IN_KEY = "sign-in-with-x";

const field = (name, type) => ({ name, type });
const ADDRESS = /^0x[0-9a-fA-F]{40}$/;

/** How an offer is paid: "eip3009" or "permit2"; or, as an Error, why a page can't. */
function methodOf(offer) {
  const extra = offer.extra ?? {};
  if (chainIdOf(offer.network) === null) return new Error(`wallets for ${networkName(offer.network)} are not spoken to by this page yet`);
  if (![offer.asset, offer.payTo].every(account => ADDRESS.test(account))) return new Error("the account to be paid is not one of that network");
  if (offer.scheme === "upto") {
    return ADDRESS.test(extra.facilitatorAddress ?? "") ? "permit2" : new Error("it does not say who settles, so anybody could");
  }
  if (offer.scheme !== "exact") return new Error(`the scheme “${offer.scheme}” needs a program`);
  if (extra.assetTransferMethod === "permit2") return "permit2";
  if ((extra.assetTransferMethod ?? "eip3009") !== "eip3009") return new Error("this way of moving the token needs a program");
  return extra.name && extra.version ? "eip3009" : new Error("it does not say how its token is signed for");
}

function random(bytes) {
  const values = crypto.getRandomValues(new Uint8Array(bytes));
  return Array.from(values, value => value.toString(16).padStart(2, "0")).join("");
}

/** What the wallet shows and signs (EIP-712), and the payload that its signature completes. */
function toSign(offer, from, nowSeconds) {
  const until = String(nowSeconds + Math.min(Number(offer.maxTimeoutSeconds) || 0, MAX_WINDOW_SECONDS));
  const chainId = chainIdOf(offer.network);
  return methodOf(offer) === "eip3009" ? eip3009(offer, from, until, chainId) : permit2(offer, from, until, chainId);
}

function eip3009(offer, from, until, chainId) {
  const authorization = { from, to: offer.payTo, value: offer.amount, validAfter: "0", validBefore: until, nonce: "0x" + random(32) };
  const typed = {
    domain: { name: offer.extra.name, version: offer.extra.version, chainId, verifyingContract: offer.asset },
    primaryType: "TransferWithAuthorization",
    types: {
      EIP712Domain: [field("name", "string"), field("version", "string"), field("chainId", "uint256"), field("verifyingContract", "address")],
      TransferWithAuthorization: [
        field("from", "address"), field("to", "address"), field("value", "uint256"),
        field("validAfter", "uint256"), field("validBefore", "uint256"), field("nonce", "bytes32"),
      ],
    },
    message: authorization,
  };
  return { typed, until: Number(until), payload: signature => ({ signature, authorization }) };
}

function permit2(offer, from, until, chainId) {
  const isMetered = offer.scheme === "upto";
  const spender = isMetered ? UPTO_PROXY : EXACT_PROXY;
  const permitted = { token: offer.asset, amount: offer.amount };
  const nonce = BigInt("0x" + random(32)).toString();
  const witness = { to: offer.payTo, ...(isMetered && { facilitator: offer.extra.facilitatorAddress }), validAfter: "0" };
  const facilitator = isMetered ? [field("facilitator", "address")] : [];
  const typed = {
    domain: { name: "Permit2", chainId, verifyingContract: PERMIT2 },
    primaryType: "PermitWitnessTransferFrom",
    types: {
      EIP712Domain: [field("name", "string"), field("chainId", "uint256"), field("verifyingContract", "address")],
      PermitWitnessTransferFrom: [
        field("permitted", "TokenPermissions"), field("spender", "address"), field("nonce", "uint256"),
        field("deadline", "uint256"), field("witness", "Witness"),
      ],
      TokenPermissions: [field("token", "address"), field("amount", "uint256")],
      Witness: [field("to", "address"), ...facilitator, field("validAfter", "uint256")],
    },
    message: { permitted, spender, nonce, deadline: until, witness },
  };
  const permit2Authorization = { from, permitted, spender, nonce, deadline: until, witness };
  return { typed, until: Number(until), payload: signature => ({ signature, permit2Authorization }) };
}

/** The payment as it goes into its header. It has a name, under which its answer is given again should it get lost. */
function encoded(terms, offer, payload) {
  const { [SIGN_IN_KEY]: _, ...declared } = terms.extensions ?? {};
  const naming = declared[NAME_KEY] ?? { info: { required: false } };
  const extensions = { ...declared, [NAME_KEY]: { ...naming, info: { ...naming.info, id: "page_" + random(16) } } };
  return toBase64(JSON.stringify({ x402Version: 2, resource: terms.resource, accepted: offer, payload, extensions }));
}

function toBase64(text) {
  return btoa(Array.from(new TextEncoder().encode(text), byte => String.fromCharCode(byte)).join(""));
}

/** A message of the protocol in a header; null where there is none, or none that can be read. */
function decoded(header) {
  try {
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(header ?? ""), character => character.charCodeAt(0))));
  } catch {
    return null;
  }
}
