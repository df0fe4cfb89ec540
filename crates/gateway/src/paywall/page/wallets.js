// Wallets in this browser: those that announce themselves (EIP-6963), and the one that older pages know as window.ethereum.

const USER_DECLINED = 4001;
const UNKNOWN_CHAIN = 4902;
const ALREADY_ASKING = -32002;
const BALANCE_OF = "0x70a08231";
const ALLOWANCE = "0xdd62ed3e";

/** Calls `heard` with every wallet there is, now and later. */
function findWallets(heard) {
  const seen = new Map();
  addEventListener("eip6963:announceProvider", event => {
    const { info, provider } = event.detail ?? {};
    if (!info?.uuid || !provider?.request || seen.has(info.uuid)) return;
    seen.set(info.uuid, { name: String(info.name).slice(0, 40), icon: info.icon, provider });
    heard([...seen.values()]);
  });
  dispatchEvent(new Event("eip6963:requestProvider"));
  // Announcements come at once, or never; a wallet that makes none has had time to put itself in place by then.
  setTimeout(() => {
    const older = globalThis.ethereum;
    heard(seen.size || !older?.request ? [...seen.values()] : [{ name: "your wallet", provider: older }]);
  }, 150);
}

const codeOf = error => error?.data?.originalError?.code ?? error?.code;

/** The account that the person pays from. */
async function accountOf(wallet) {
  const [account] = await wallet.provider.request({ method: "eth_requestAccounts" });
  if (!ADDRESS.test(account ?? "")) throw new Error("the wallet named no account");
  return account;
}

/** Sees to it that the wallet is on that network. `telling` is called before the person is asked for something. */
async function bringTo({ provider }, network, telling) {
  const wanted = chainIdOf(network);
  const isThere = async () => Number(await provider.request({ method: "eth_chainId" })) === wanted;
  if (await isThere()) return;
  telling();
  const params = [{ chainId: "0x" + wanted.toString(16) }];
  try {
    await provider.request({ method: "wallet_switchEthereumChain", params });
  } catch (error) {
    if (codeOf(error) !== UNKNOWN_CHAIN) throw error;
    const told = introduction(wanted);
    if (!told) throw new Error(`add ${networkName(network)} (chain ${wanted}) to your wallet, and try again`);
    await provider.request({ method: "wallet_addEthereumChain", params: [told] });
    // Some wallets go there at once, others when they are asked once more.
    if (!(await isThere())) await provider.request({ method: "wallet_switchEthereumChain", params });
  }
  if (!(await isThere())) throw new Error(`the wallet did not change to ${networkName(network)}`);
}

const word = address => address.slice(2).toLowerCase().padStart(64, "0");

/** A number that a token tells; null where the wallet can't say. */
async function told({ provider }, token, data) {
  try {
    const answer = await provider.request({ method: "eth_call", params: [{ to: token, data }, "latest"] });
    return /^0x[0-9a-fA-F]{1,64}$/.test(answer) ? BigInt(answer) : null;
  } catch {
    return null;
  }
}

const balanceOf = (wallet, token, account) => told(wallet, token, BALANCE_OF + word(account));
const allowanceOf = (wallet, token, account) => told(wallet, token, ALLOWANCE + word(account) + word(PERMIT2));

const signatureOf = ({ provider }, account, typed) =>
  provider.request({ method: "eth_signTypedData_v4", params: [account, JSON.stringify(typed)] });
