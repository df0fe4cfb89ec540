// The first generation of the official Express middleware. It speaks v1 only.
import { load, sellReport, serve, setting } from "../peer.mjs";

const express = load("express");
const { paymentMiddleware } = load("x402-express");

const offer = { price: setting("PRICE"), network: setting("NETWORK") };
const app = express();
app.use(
  paymentMiddleware(setting("PAY_TO"), { "GET /report": offer, "GET /fails": offer }, { url: setting("FACILITATOR_URL") }),
);
sellReport(app);
serve(app);
