// The official fetch wrapper, which pays v2 and v1 servers.
import { buy, load, setting } from "../peer.mjs";

const { registerExactEvmScheme } = load("@x402/evm/exact/client");
const { wrapFetchWithPayment, x402Client } = load("@x402/fetch");
const { privateKeyToAccount } = load("viem/accounts");

const client = registerExactEvmScheme(new x402Client(), { signer: privateKeyToAccount(setting("PRIVATE_KEY")) });
await buy(wrapFetchWithPayment(fetch, client));
