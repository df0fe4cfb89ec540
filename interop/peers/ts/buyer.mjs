// The official fetch wrapper as a process that buys whatever it is told to: one start for many purchases, each with a
// client of its own. Ordinary accounts and smart wallets, `exact` and `upto`, with approvals for facilitators to sponsor.
import { load, purchase, serve, setting } from "../peer.mjs";

const express = load("express");
const { toClientEvmSigner } = load("@x402/evm");
const extensions = load("@x402/extensions");
const { ExactEvmScheme } = load("@x402/evm/exact/client");
const { UptoEvmScheme } = load("@x402/evm/upto/client");
const { wrapFetchWithPayment, x402Client } = load("@x402/fetch");
const { concat, createPublicClient, http, serializeErc6492Signature } = load("viem");
const { privateKeyToAccount } = load("viem/accounts");

const node = createPublicClient({ transport: http(setting("RPC_URL"), { retryCount: 0 }), cacheTime: 0 });

/** What signs for a purchase: the key's own account, or a wallet that the key owns. */
function signerOf({ key, wallet }) {
  const owner = privateKeyToAccount(key);
  if (wallet === null) {
    return toClientEvmSigner(owner, node);
  }
  const signTypedData = async message => sealed(wallet, await owner.signTypedData(message));
  return toClientEvmSigner({ address: wallet.address, signTypedData }, node);
}

/** What signs in as it. */
function visitorOf({ key, wallet }) {
  const owner = privateKeyToAccount(key);
  const signMessage = async message => sealed(wallet, await owner.signMessage(message));
  return wallet === null ? owner : { address: wallet.address, signMessage };
}

/** The owner's signature as the wallet takes it: after its prefix, and wrapped while the wallet does not exist. */
function sealed({ prefix, creation, address }, signature) {
  if (creation !== null) {
    return serializeErc6492Signature({ address: creation.factory, data: creation.call, signature });
  }
  return prefix === null ? signature : concat([prefix, signature]);
}

const app = express();
app.use(express.json());
app.post("/", async (request, response) => {
  const { url, id, services, json } = request.body;
  const signer = signerOf(request.body);
  const client = new x402Client();
  client.register("eip155:*", new ExactEvmScheme(signer));
  client.register("eip155:*", new UptoEvmScheme(signer));
  // By itself it pays in nothing but each network's default token.
  client.setSpendControls({ allowedAssets: true });
  client.registerExtension(extensions.createSIWxClientExtension({ signers: [visitorOf(request.body)] }));
  client.registerExtension(new extensions.BuilderCodeClientExtension(services));
  let offered = [];
  client.onBeforePaymentCreation(async ({ paymentRequired }) => {
    offered = extensions.extractOffersFromPaymentRequired(paymentRequired);
    if (id !== null) {
      extensions.appendPaymentIdentifierToExtensions(paymentRequired.extensions ?? {}, id);
    }
  });
  const answer = await purchase(wrapFetchWithPayment(fetch, client), url, json);
  response.json({ ...answer, statements: await statementsOf(offered, answer.settlement) });
});

/** What the server signed of a purchase, and who it was by the SDK's own check; null if it signed nothing. */
async function statementsOf([offer], settlement) {
  const receipt = settlement?.extensions?.[extensions.OFFER_RECEIPT]?.info?.receipt;
  if (offer === undefined || receipt === undefined) {
    return null;
  }
  const by = async (signed, ofTypedData, ofJws) => {
    if (signed.format === "eip712") {
      const { signer, payload } = await ofTypedData(signed);
      return { by: signer, ...payload };
    }
    return { by: extensions.extractJWSHeader(signed.signature).kid, ...(await ofJws(signed)) };
  };
  return {
    offer: await by(offer, extensions.verifyOfferSignatureEIP712, extensions.verifyOfferSignatureJWS),
    receipt: await by(receipt, extensions.verifyReceiptSignatureEIP712, extensions.verifyReceiptSignatureJWS),
  };
}

// Whom a transaction's data names, by the SDK's decoder.
app.post("/attribution", (request, response) => {
  response.json(extensions.parseBuilderCodeSuffixFromCalldata(request.body.data) ?? null);
});
serve(app);
