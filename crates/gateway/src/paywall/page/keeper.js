// The payment of this page, kept from before it is first sent until what it bought is here, so that it is presented again and
// not signed again, whatever happens to the page. There is one for a URL at a time, and one tab that pays.

const TARGET = location.pathname + location.search;
const KEY = `farthing GET ${TARGET}`;
const CLAIM = `${KEY} claim`;
// A claim that its tab has not renewed for so long is a dead one's.
const CLAIM_MILLISECONDS = 6000;
// A payment that can't be carried out any more may still have bought something, which is kept for a day.
const MARGIN_SECONDS = 24 * 60 * 60;
// How long a purchase opens at once; longer than that ago, a person may rather want it anew.
const OPEN_SECONDS = 60 * 60;

const keeper = {
  /** `{header, until, network, price, delivered, wasSent}`, if there is one. */
  read() {
    try {
      const kept = JSON.parse(localStorage.getItem(KEY));
      if (kept && Date.now() / 1000 < kept.until + MARGIN_SECONDS) return kept;
    } catch { /* What can't be read was not written by this page. */ }
    return null;
  },
  /** Throws if it can't be kept; then nothing may be sent either. */
  write(kept) {
    const text = JSON.stringify(kept);
    localStorage.setItem(KEY, text);
    if (localStorage.getItem(KEY) !== text) throw new Error("nothing can be kept");
  },
  forget() {
    localStorage.removeItem(KEY);
    this.leave(null);
  },
  /** Whether anything can be kept here at all. */
  works() {
    try {
      localStorage.setItem(CLAIM + "?", "1");
      localStorage.removeItem(CLAIM + "?");
      return true;
    } catch {
      return false;
    }
  },
  /** Leaves a payment where the next load of this page takes it along, or takes it away. Whether that was possible. */
  leave(header) {
    const rest = `; Path=${location.pathname}; SameSite=Lax${location.protocol === "https:" ? "; Secure" : ""}`;
    const size = 3600;
    const count = header ? Math.ceil(header.length / size) : 0;
    if (count > data.cookiePieces) return this.leave(null);
    for (let piece = 0; piece < data.cookiePieces; piece++) {
      const text = (piece === 0 ? `${count}.` : "") + (header ?? "").slice(piece * size, (piece + 1) * size);
      document.cookie = `${data.cookie}${piece}=${text}; Max-Age=${piece < count ? OPEN_SECONDS : 0}${rest}`;
    }
    const left = document.cookie.split("; ").filter(pair => pair.startsWith(data.cookie)).length;
    return count > 0 && left >= count;
  },
};

/** Runs `work` unless another tab is at it. Whether it ran. */
async function alone(work) {
  if (navigator.locks) {
    return navigator.locks.request(KEY, { ifAvailable: true }, async lock => (lock ? (await work(), true) : false));
  }
  // Without locks (plain HTTP): a claim that is renewed, and looked at again after others had the time to write theirs.
  const ours = random(8);
  const holder = () => (localStorage.getItem(CLAIM) ?? "").split(" ");
  const claim = () => localStorage.setItem(CLAIM, `${ours} ${Date.now() + CLAIM_MILLISECONDS}`);
  if (Number(holder()[1]) > Date.now()) return false;
  claim();
  await new Promise(resolve => setTimeout(resolve, 50));
  if (holder()[0] !== ours) return false;
  const renewal = setInterval(claim, CLAIM_MILLISECONDS / 3);
  try {
    await work();
  } finally {
    clearInterval(renewal);
    localStorage.removeItem(CLAIM);
  }
  return true;
}
