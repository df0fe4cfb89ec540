// The official Express middleware, charging for every good that interop/peers/README.md lists. It speaks v2 only.
import { load, sellReport, serve, setting } from "../peer.mjs";

const express = load("express");
const { HTTPFacilitatorClient } = load("@x402/core/server");
const { ExactEvmScheme } = load("@x402/evm/exact/server");
const { UptoEvmScheme } = load("@x402/evm/upto/server");
const { paymentMiddleware, setSettlementOverrides, x402ResourceServer } = load("@x402/express");
const { declareEip2612GasSponsoringExtension, declareErc20ApprovalGasSponsoringExtension } = load("@x402/extensions");

const network = setting("NETWORK");
const price = setting("PRICE");
const permit2 = { assetTransferMethod: "permit2" };
// No name and version: it knows no EIP-2612.
const inPlainToken = { asset: setting("PLAIN_TOKEN"), amount: setting("PLAIN_AMOUNT"), extra: permit2 };

const sold = (change, extensions) => ({
  accepts: [{ scheme: "exact", network, price, payTo: setting("PAY_TO"), ...change }],
  extensions,
});
const upfront = sold({ extra: { paymentFlow: "upfront" } });
const upto = { scheme: "upto" };
const routes = {
  "GET /report": sold(),
  "GET /fails": sold(),
  "GET /permit2": sold({ extra: permit2 }),
  "GET /sponsored-permit": sold({ extra: permit2 }, declareEip2612GasSponsoringExtension()),
  "GET /sponsored-approval": sold({ price: inPlainToken }, declareErc20ApprovalGasSponsoringExtension()),
  "GET /metered": sold(upto),
  "GET /sponsored-metered": sold(upto, declareEip2612GasSponsoringExtension()),
  "GET /unused": sold(upto),
  "GET /upfront": upfront,
  "GET /upfront-fails": upfront,
};

const resources = new x402ResourceServer(new HTTPFacilitatorClient({ url: setting("FACILITATOR_URL") }));
resources.register(network, new ExactEvmScheme());
resources.register(network, new UptoEvmScheme());
const app = express();
app.use(paymentMiddleware(routes, resources));
const charges = { "/metered": "30%", "/sponsored-metered": "30%", "/unused": "0" };
for (const [path, amount] of Object.entries(charges)) {
  app.get(path, (_request, response, next) => {
    setSettlementOverrides(response, { amount });
    next();
  });
}
sellReport(app, Object.keys(routes).map(route => route.slice("GET ".length)));
serve(app);
