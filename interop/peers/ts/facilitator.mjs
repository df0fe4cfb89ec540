// The official facilitator for `exact` on EVM, v2 and v1, behind the HTTP API that the specification gives it.
import { load, serve, setting } from "../peer.mjs";

const express = load("express");
const { x402Facilitator } = load("@x402/core/facilitator");
const { toFacilitatorEvmSigner } = load("@x402/evm");
const { registerExactEvmScheme } = load("@x402/evm/exact/facilitator");
const { createWalletClient, defineChain, http, nonceManager, publicActions } = load("viem");
const { privateKeyToAccount } = load("viem/accounts");

const chainId = Number(setting("CHAIN_ID"));
const rpcUrl = setting("RPC_URL");
const chain = defineChain({
  id: chainId,
  name: `local ${chainId}`,
  nativeCurrency: { name: "Ether", symbol: "ETH", decimals: 18 },
  rpcUrls: { default: { http: [rpcUrl] } },
});
const account = privateKeyToAccount(setting("PRIVATE_KEY"), { nonceManager });
const client = createWalletClient({
  account,
  chain,
  transport: http(rpcUrl, { retryCount: 0 }),
  pollingInterval: 5,
  cacheTime: 0,
}).extend(publicActions);

const facilitator = new x402Facilitator();
registerExactEvmScheme(facilitator, {
  signer: toFacilitatorEvmSigner({ ...client, address: account.address }),
  networks: `eip155:${chainId}`,
});

const app = express();
app.use(express.json());
for (const step of ["verify", "settle"]) {
  app.post(`/${step}`, async (request, response) => {
    try {
      response.json(await facilitator[step](request.body.paymentPayload, request.body.paymentRequirements));
    } catch (error) {
      response.status(500).json({ error: String(error?.message ?? error) });
    }
  });
}
app.get("/supported", (_request, response) => response.json(facilitator.getSupported()));
serve(app);
