// The official Express middleware, charging for every good that interop/peers/README.md lists. It speaks v2 only.
import { decoded, load, place, sellReport, setting } from "../peer.mjs";

const express = load("express");
const { HTTPFacilitatorClient } = load("@x402/core/server");
const { ExactEvmScheme } = load("@x402/evm/exact/server");
const { UptoEvmScheme } = load("@x402/evm/upto/server");
const { paymentMiddleware, setSettlementOverrides, x402ResourceServer } = load("@x402/express");
const extensions = load("@x402/extensions");
const { createPublicClient, hexToBytes, http, sha256, sliceHex } = load("viem");
const { privateKeyToAccount } = load("viem/accounts");

const network = setting("NETWORK");
const price = setting("PRICE");
const permit2 = { assetTransferMethod: "permit2" };
// No name and version: it knows no EIP-2612.
const inPlainToken = { asset: setting("PLAIN_TOKEN"), amount: setting("PLAIN_AMOUNT"), extra: permit2 };

const sold = (change, extensions) => ({
  accepts: [{ scheme: "exact", network, price, payTo: setting("PAY_TO"), ...change }],
  extensions,
});
const permits = extensions.declareEip2612GasSponsoringExtension();
const approvals = extensions.declareErc20ApprovalGasSponsoringExtension();
const named = { [extensions.PAYMENT_IDENTIFIER]: extensions.declarePaymentIdentifierExtension(true) };
const codes = extensions.declareBuilderCodeExtension(setting("APP_CODE"), [setting("SERVICE_CODE")]);
const statements = extensions.declareOfferReceiptExtension({ includeTxHash: true });
const upfront = sold({ extra: { paymentFlow: "upfront" } });
const upto = { scheme: "upto" };
const routes = {
  "GET /report": sold(),
  "GET /fails": sold(),
  "GET /permit2": sold({ extra: permit2 }),
  "GET /sponsored-permit": sold({ extra: permit2 }, permits),
  "GET /sponsored-approval": sold({ price: inPlainToken }, approvals),
  "GET /metered": sold(upto),
  "GET /sponsored-metered": sold(upto, permits),
  "GET /unused": sold(upto),
  "GET /upfront": upfront,
  "GET /upfront-fails": upfront,
  "GET /sign-in": sold({}, extensions.declareSIWxExtension({ statement: "Sign in to read it again" })),
  "GET /named": sold({}, named),
  "GET /attributed": sold({}, { [extensions.BUILDER_CODE]: codes }),
  "GET /signed": sold({}, statements),
  "GET /signed-jws": sold({}, statements),
};

const resources = new x402ResourceServer(new HTTPFacilitatorClient({ url: setting("FACILITATOR_URL") }));
resources.register(network, new ExactEvmScheme());
resources.register(network, new UptoEvmScheme());
const { url, open } = await place();

/** Remembers who has come, so that nobody comes in twice by one signature. */
class Visits extends extensions.InMemorySIWxStorage {
  nonces = new Set();
  hasUsedNonce = nonce => this.nonces.has(nonce);
  recordNonce = nonce => void this.nonces.add(nonce);
}
const node = createPublicClient({ transport: http(setting("RPC_URL"), { retryCount: 0 }), cacheTime: 0 });
const verifyOptions = { evmVerifier: node.verifyMessage };
resources.registerExtension(
  extensions.createSIWxResourceServerExtension({ storage: new Visits(), origin: url, verifyOptions }),
);
resources.registerExtension(extensions.paymentIdentifierResourceServerExtension);
resources.registerExtension(extensions.builderCodeResourceServerExtension);

// A server has one issuer. This one signs in the form that the address asks for.
const issuer = privateKeyToAccount(setting("ISSUER_KEY"));
const kid = setting("ISSUER_KEY_ID");
async function sign(text) {
  const signature = sliceHex(await issuer.sign({ hash: sha256(text) }), 0, 64);
  return Buffer.from(hexToBytes(signature)).toString("base64url");
}
const jws = extensions.createJWSOfferReceiptIssuer(kid, { kid, format: "jws", algorithm: "ES256K", sign });
const typed = extensions.createEIP712OfferReceiptIssuer(kid, statement => issuer.signTypedData(statement));
const of = url => (url.endsWith("-jws") ? jws : typed);
resources.registerExtension(
  extensions.createOfferReceiptExtension({
    kid,
    format: "eip712",
    issueOffer: (url, ...offer) => of(url).issueOffer(url, ...offer),
    issueReceipt: (url, ...receipt) => of(url).issueReceipt(url, ...receipt),
  }),
);

const app = express();
let signIn = null;
app.use("/sign-in", (request, _response, next) => {
  signIn = request.get("SIGN-IN-WITH-X") ?? signIn;
  next();
});
app.get("/last-sign-in", (_request, response) => response.json({ signIn }));
app.use(paymentMiddleware(routes, resources));
const charges = { "/metered": "30%", "/sponsored-metered": "30%", "/unused": "0" };
for (const [path, amount] of Object.entries(charges)) {
  app.get(path, (_request, response, next) => {
    setSettlementOverrides(response, { amount });
    next();
  });
}

/** What a buyer wants to know that came with a request; `interop/peers/README.md` lists it. */
function more(path, request) {
  if (path === "/named") {
    const { id, validation } = extensions.extractAndValidatePaymentIdentifier(decoded(request.get("PAYMENT-SIGNATURE")));
    return { id: validation.valid ? id : null };
  }
  return {};
}
const paths = Object.keys(routes).map(route => route.slice("GET ".length));
sellReport(app, paths, more);
open(app);
