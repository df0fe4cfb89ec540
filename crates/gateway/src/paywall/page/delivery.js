// Presents a payment until its outcome is known, and hands over what it bought.

const MAX_ATTEMPTS = 9;
const FIRST_PAUSE_SECONDS = 1;
const MAX_PAUSE_SECONDS = 20;
// What an answer's head takes of the room in which it is kept.
const HEAD_BYTES = 16 * 1024;
// As browsers ask when they load a page, so that the answer is the one that they would get.
const ACCEPT = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8";

/** What the terms are now, by the server's clock: `{terms, now}`; null if nothing has to be paid any more. */
async function currentTerms() {
  const answer = await fetch(TARGET, { headers: { accept: "application/json" }, cache: "no-store", redirect: "manual" });
  const terms = answer.status === 402 ? decoded(answer.headers.get("payment-required")) : null;
  if (!terms && !answer.ok && answer.type !== "opaqueredirect") throw new Error(`the site answered ${answer.status}`);
  const now = Date.parse(answer.headers.get("date")) || Date.now();
  return terms && { terms, now: Math.floor(now / 1000) };
}

/** Presents a payment until it is known what became of it: `{answer, body}`, `{refused, message}` or `{unknown, message}`. */
async function present(kept, telling) {
  let last = { unknown: true, message: "" };
  // Sent before, by this page or one before it, it may have been charged whatever is said now.
  let wasSent = kept.wasSent ?? false;
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    if (attempt > 0) {
      telling(attempt, last);
      const pause = Math.min(FIRST_PAUSE_SECONDS * 2 ** (attempt - 1), MAX_PAUSE_SECONDS);
      await new Promise(resolve => setTimeout(resolve, 1000 * Math.max(pause, last.pause ?? 0)));
    }
    last = { ...(await presentOnce(kept)), wasSent };
    if (!last.unknown || last.isFinal) return last;
    wasSent = true;
  }
  return last;
}

async function presentOnce(kept) {
  let answer, body;
  try {
    const headers = { accept: ACCEPT, "payment-signature": kept.header };
    answer = await fetch(TARGET, { headers, cache: "no-store", redirect: "manual" });
    body = await answer.blob();
  } catch {
    return { unknown: true, message: "The answer did not arrive." };
  }
  if (answer.ok || answer.type === "opaqueredirect") return { answer, body };
  return judged(answer, await problemIn(answer, body));
}

async function problemIn(answer, body) {
  const isJson = /\bjson\b/.test(answer.headers.get("content-type") ?? "");
  try {
    const { error, message } = isJson ? JSON.parse(await body.text()) : {};
    return { error: String(error ?? ""), message: String(message ?? "") };
  } catch {
    return { error: "", message: "" };
  }
}

/** What an answer says of the payment that was presented. Only what is certain ends it. */
function judged(answer, { error, message }) {
  const { status } = answer;
  const pause = Math.min(Number(answer.headers.get("retry-after")) || 0, MAX_PAUSE_SECONDS);
  const isCharged = decoded(answer.headers.get("payment-response"))?.success === true;
  const settled = isCharged ? "Your payment went through; asking again costs nothing more." : "You have not been charged.";
  if (status === 402 && error === "settlement_pending") return { unknown: true, isPending: true, pause, message: "" };
  if (status === 402 || (status === 412 && error === "permit2_allowance_required")) return { refused: true, reason: error, message };
  if (status === 409 && error === "payment_identifier_conflict") return { refused: true, reason: error, message };
  if (status === 409 || status === 408 || status === 429 || status >= 500) {
    return { unknown: true, isPending: error === "settlement_pending" || status === 409, pause, message: message || `The site answered ${status}. ` };
  }
  return { unknown: true, isFinal: true, message: message || `The site answered ${status} instead of what is sold here. ${settled}` };
}

// What is said of a payment that has moved its money.
const USED = /nonce_already_used|invalid_nonce|payment_already_used/;
const REASONS = [
  [/insufficient_(funds|balance)/, "The account holds too little of the token for this price."],
  [/payment_expired|valid_before|deadline_expired|quote_expired/, "It took too long between signing and paying, so the signature is not good any more."],
  [/not_yet_valid|valid_after|too_early/, "By the network’s clock the signature is not good yet."],
  [/nonce_already_used|invalid_nonce|payment_already_used|identifier_conflict/, "This signature has been used already."],
  [/allowance/, "The token has to be approved for Permit2 first, which this page can’t do for you."],
  [/signature|domain|token_(name|version)/, "The signature is not the account’s, or not over what is sold here. Wallets of some kinds sign in other ways."],
  [/quote_mismatch|No matching|amount|recipient/, "The price or its terms have changed since this page was loaded."],
  [/simulation_failed|transaction_failed|transaction_state/, "The network would not carry out this transfer."],
  [/access_denied|screen/, "The seller does not take this payment."],
];

/** Why a payment was refused, in words. */
function inWords({ reason, message }) {
  const known = REASONS.find(([pattern]) => pattern.test(reason));
  return known ? known[1] : message || `The reason that was given: ${reason || "none"}.`;
}

/** What is done with what was bought: "load" (the browser shows it, at this URL), "picture", "save" or "nothing". */
function wayOf(answer, body) {
  if (answer.type === "opaqueredirect") return "load";
  if (body.size === 0) return "nothing";
  const type = body.type.split(";")[0].trim().toLowerCase();
  const isAttached = /^\s*attachment/i.test(answer.headers.get("content-disposition") ?? "");
  const isShown = /^(text\/|image\/|audio\/|video\/)|[/+](json|xml)$|^application\/(pdf|xhtml\+xml)$/.test(type);
  if (isShown && !isAttached && body.size + HEAD_BYTES <= data.keptBytes) return "load";
  return /^image\//.test(type) && !isAttached ? "picture" : "save";
}

/** What a file is to be called: as its answer says, or as its URL ends. */
function fileName(answer) {
  const disposition = answer.headers.get("content-disposition") ?? "";
  const extended = /filename\*\s*=\s*utf-8''([^;]+)/i.exec(disposition)?.[1];
  const plain = /filename\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]+))/i.exec(disposition);
  let name = plain ? (plain[1] ?? plain[2]).replace(/\\(.)/g, "$1") : location.pathname.split("/").pop();
  try {
    name = decodeURIComponent(extended ?? name);
  } catch { /* A name that is not written as names in URLs are is meant as it stands. */ }
  // Its last part alone, as it is read: a name leads nowhere, and does not look like another.
  return name.split(/[/\\]/).pop().replace(/[\u0000-\u001f\u007f\u202a-\u202e\u2066-\u2069]/g, "").slice(0, 120) || "download";
}

function sizeInWords(bytes) {
  const [unit, size] = bytes < 1000 ? ["bytes", 1] : bytes < 1e6 ? ["kB", 1e3] : ["MB", 1e6];
  return `${(bytes / size).toLocaleString("en", { maximumFractionDigits: size === 1 ? 0 : 1 })} ${unit}`;
}
