// The first generation of the official fetch wrapper: it reads offers from the body and pays with X-PAYMENT.
import { buy, load, setting } from "../peer.mjs";

const { createSigner, wrapFetchWithPayment } = load("x402-fetch");

await buy(wrapFetchWithPayment(fetch, await createSigner(setting("NETWORK"), setting("PRIVATE_KEY"))));
