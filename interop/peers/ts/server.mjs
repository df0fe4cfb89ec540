// The official Express middleware, charging for two routes. It speaks v2 only.
import { load, sellReport, serve, setting } from "../peer.mjs";

const express = load("express");
const { HTTPFacilitatorClient } = load("@x402/core/server");
const { ExactEvmScheme } = load("@x402/evm/exact/server");
const { paymentMiddleware, x402ResourceServer } = load("@x402/express");

const network = setting("NETWORK");
const offer = { scheme: "exact", network, price: setting("PRICE"), payTo: setting("PAY_TO") };
const resources = new x402ResourceServer(new HTTPFacilitatorClient({ url: setting("FACILITATOR_URL") }));
resources.register(network, new ExactEvmScheme());

const app = express();
app.use(paymentMiddleware({ "GET /report": { accepts: [offer] }, "GET /fails": { accepts: [offer] } }, resources));
sellReport(app);
serve(app);
