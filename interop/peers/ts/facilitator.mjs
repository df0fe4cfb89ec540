// The official facilitator for `exact` (v2 and v1) and `upto` on EVM, behind the HTTP API that the specification gives it. It
// sponsors approvals of Permit2 both ways, creates smart wallets by the factory that it is told, and writes the code that it is
// told behind its transactions, if any.
import { setTimeout } from "node:timers/promises";

import { load, serve, setting } from "../peer.mjs";

const express = load("express");
const { x402Facilitator } = load("@x402/core/facilitator");
const { toFacilitatorEvmSigner } = load("@x402/evm");
const { registerExactEvmScheme } = load("@x402/evm/exact/facilitator");
const { UptoEvmScheme } = load("@x402/evm/upto/facilitator");
const { BuilderCodeFacilitatorExtension, createErc20ApprovalGasSponsoringExtension, EIP2612_GAS_SPONSORING } =
  load("@x402/extensions");
const { createWalletClient, defineChain, http, nonceManager, publicActions, TransactionReceiptNotFoundError } = load("viem");
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
  cacheTime: 0,
}).extend(publicActions);

const RECEIPT_LIMIT_MILLISECONDS = 30_000;

/** Asks until the receipt is there. By itself viem asks once for each new block, and here none may follow. */
async function waitForTransactionReceipt({ hash }) {
  const end = Date.now() + RECEIPT_LIMIT_MILLISECONDS;
  for (;;) {
    try {
      return await client.getTransactionReceipt({ hash });
    } catch (error) {
      if (!(error instanceof TransactionReceiptNotFoundError) || Date.now() > end) {
        throw error;
      }
      await setTimeout(5);
    }
  }
}

const signer = toFacilitatorEvmSigner({ ...client, address: account.address, waitForTransactionReceipt });

/** Sends what belongs together, one after the other: a payer's own transaction as it is, and calls of ours. */
async function sendTransactions(transactions) {
  const hashes = [];
  for (const transaction of transactions) {
    const hash =
      typeof transaction === "string"
        ? await client.sendRawTransaction({ serializedTransaction: transaction })
        : await client.sendTransaction(transaction);
    const { status } = await waitForTransactionReceipt({ hash });
    if (status !== "success") {
      throw new Error(`${hash} was reverted`);
    }
    hashes.push(hash);
  }
  return hashes;
}

const facilitator = new x402Facilitator();
const factory = process.env.WALLET_FACTORY;
registerExactEvmScheme(facilitator, {
  signer,
  networks: `eip155:${chainId}`,
  eip6492AllowedFactories: factory === undefined ? [] : [factory],
});
facilitator.register(`eip155:${chainId}`, new UptoEvmScheme(signer));
facilitator.registerExtension(EIP2612_GAS_SPONSORING);
facilitator.registerExtension(createErc20ApprovalGasSponsoringExtension({ ...signer, sendTransactions }));
const builderCode = process.env.WALLET_CODE;
if (builderCode !== undefined) {
  facilitator.registerExtension(new BuilderCodeFacilitatorExtension({ builderCode }));
}

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
