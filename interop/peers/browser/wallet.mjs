// A wallet for a page under test: it signs for real, and asks a real node.
import { load } from "../peer.mjs";

const { privateKeyToAccount } = load("viem/accounts");

const DECLINED = { code: 4001, message: "User rejected the request." };
const UNKNOWN_CHAIN = { code: 4902, message: "Unrecognized chain ID." };

/** One wallet. `declines` are methods that its owner declines, `waits` those that it never answers. */
export class Wallet {
  calls = [];

  constructor({ name, key, chainId, knows = [], isOlder = false, declines = [], waits = [] }, rpcUrl) {
    this.account = privateKeyToAccount(key);
    Object.assign(this, { chainId, knows: new Set([chainId, ...knows]), declines, waits, rpcUrl });
    this.face = { name, isOlder };
  }

  become({ chainId = this.chainId, declines = this.declines, waits = this.waits }) {
    Object.assign(this, { chainId, declines, waits });
  }

  async asked({ method, params }) {
    this.calls.push(method);
    if (this.waits.includes(method)) return new Promise(() => {});
    if (this.declines.includes(method)) return { error: DECLINED };
    try {
      return await this.#answer(method, params);
    } catch (error) {
      return { error: { code: -32603, message: String(error?.message ?? error) } };
    }
  }

  async #answer(method, params) {
    switch (method) {
      case "eth_requestAccounts":
      case "eth_accounts":
        return { result: [this.account.address] };
      case "eth_chainId":
        return { result: "0x" + this.chainId.toString(16) };
      case "wallet_switchEthereumChain": {
        const wanted = Number(params[0].chainId);
        if (!this.knows.has(wanted)) return { error: UNKNOWN_CHAIN };
        this.chainId = wanted;
        return { result: null };
      }
      case "wallet_addEthereumChain":
        this.added = params[0];
        this.knows.add(Number(params[0].chainId));
        return { result: null };
      case "eth_signTypedData_v4": {
        const typed = JSON.parse(params[1]);
        const isOurs = params[0].toLowerCase() === this.account.address.toLowerCase();
        // Wallets refuse to sign for another chain than the one they are on.
        if (!isOurs || Number(typed.domain.chainId) !== this.chainId) return { error: { code: -32602, message: "not for this account and chain" } };
        return { result: await this.account.signTypedData(typed) };
      }
      default:
        return this.#node(method, params);
    }
  }

  async #node(method, params) {
    const question = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ jsonrpc: "2.0", id: 1, method, params }) };
    const { result, error } = await (await fetch(this.rpcUrl, question)).json();
    return error ? { error } : { result };
  }
}

/** Runs in every page before its own scripts: puts the wallets where pages look for them. */
export function announce(faces) {
  const icon = "data:image/svg+xml," + encodeURIComponent('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><rect width="8" height="8" rx="2" fill="#e0a030"/><circle cx="4" cy="4" r="2" fill="#fff"/></svg>');
  faces.forEach(({ name, isOlder }, index) => {
    const provider = {
      async request(question) {
        const { result, error } = await window.askWallet(index, question);
        if (error) throw Object.assign(new Error(error.message), error);
        return result;
      },
    };
    if (isOlder) {
      window.ethereum = provider;
      return;
    }
    const info = { uuid: `00000000-0000-4000-8000-00000000000${index}`, name, icon, rdns: "example.wallet" };
    const tell = () => window.dispatchEvent(new CustomEvent("eip6963:announceProvider", { detail: Object.freeze({ info, provider }) }));
    window.addEventListener("eip6963:requestProvider", tell);
    tell();
  });
}
