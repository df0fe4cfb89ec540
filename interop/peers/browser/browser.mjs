// A real Chromium, driven line by line: an order in, its outcome out. interop/peers/README.md states the contract.
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { createInterface } from "node:readline";
import { load } from "../peer.mjs";
import { Wallet, announce } from "./wallet.mjs";

const { chromium } = load("playwright-core");
const AXE = load.resolve("axe-core/axe.min.js");

const PATIENCE_MILLISECONDS = 40_000;
const NAMES = ["chromium", "chromium-browser", "google-chrome", "chrome"];
const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--no-proxy-server", "--disable-dev-shm-usage",
];

function installed() {
  const named = process.env.CHROMIUM;
  const places = (process.env.PATH ?? "").split(delimiter).flatMap(folder => NAMES.map(name => join(folder, name)));
  const found = [named, ...places].find(file => file && existsSync(file));
  if (!found) {
    console.error("no Chromium: install one (Debian: apt-get install chromium), or say in CHROMIUM where it is");
    process.exit(2);
  }
  return found;
}

const profile = mkdtempSync(join(tmpdir(), "farthing-browser-"));
const browser = await chromium.launch({ executablePath: installed(), headless: true, args: [...FLAGS, `--crash-dumps-dir=${profile}`] });

/** Everything of one person: a window with its pages, a wallet or several, what was asked of the network. */
class Person {
  requests = [];
  errors = [];
  downloads = [];
  #loses = 0;
  #serves = true;
  #held = null;

  async open({ width = 1100, height = 900, dark = false, still = false, scripts = true, locks = true, scale = 1, wallets = [], rpcUrl }) {
    this.wallets = wallets.map(wallet => new Wallet(wallet, rpcUrl));
    this.context = await browser.newContext({
      viewport: { width, height },
      colorScheme: dark ? "dark" : "light",
      reducedMotion: still ? "reduce" : "no-preference",
      javaScriptEnabled: scripts,
      deviceScaleFactor: scale,
      acceptDownloads: true,
    });
    this.context.setDefaultTimeout(PATIENCE_MILLISECONDS);
    this.context.on("request", request => this.requests.push({ url: request.url(), method: request.method() }));
    await this.context.exposeBinding("askWallet", (_, index, question) => this.wallets[index].asked(question));
    // Pages that did not come by TLS have none.
    if (!locks) await this.context.addInitScript("Object.defineProperty(navigator, 'locks', { value: undefined })");
    await this.context.addInitScript(announce, this.wallets.map(wallet => wallet.face));
    await this.context.route("**/*", route => this.#pass(route));
    this.pages = [];
    await this.tab();
  }

  async tab() {
    const page = await this.context.newPage();
    page.on("pageerror", error => this.errors.push(String(error)));
    page.on("console", message => message.type() === "error" && this.errors.push(message.text()));
    page.on("download", download => this.downloads.push(download.suggestedFilename()));
    this.pages.push(page);
    return this.pages.length - 1;
  }

  /** Answers to payments get lost, or wait, as the test wishes. */
  async #pass(route) {
    const pays = "payment-signature" in route.request().headers();
    try {
      if (pays && this.#held) await this.#held.promise;
      if (pays && this.#loses > 0) {
        this.#loses -= 1;
        if (this.#serves) await route.fetch();
        return await route.abort("connectionreset");
      }
      await route.continue();
    } catch { /* The page that asked is gone. */ }
  }

  lose({ times = 1, served = true }) {
    this.#loses = times;
    this.#serves = served;
  }

  hold() {
    this.#held = Promise.withResolvers?.() ?? withResolvers();
  }

  release() {
    this.#held?.resolve();
    this.#held = null;
  }
}

function withResolvers() {
  let resolve;
  const promise = new Promise(resolved => (resolve = resolved));
  return { promise, resolve };
}

const people = new Map();

/** What can be ordered. `page` is the tab that it is for. */
const ORDERS = {
  open: async (_, { person, ...wishes }) => {
    const opened = new Person();
    people.set(person, opened);
    await opened.open(wishes);
  },
  close: async person => person.context.close(),
  tab: person => person.tab(),
  goto: async (_, { url }, page) => (await page.goto(url))?.status() ?? null,
  reload: async (_, __, page) => (await page.reload())?.status() ?? null,
  // Clicks that follow each other as fast as a hand can: what is gone by then is not waited for.
  click: async (_, { selector, times = 1 }, page) => {
    await page.click(selector);
    const box = { timeout: 50 };
    for (let more = 1; more < times; more++) await page.click(selector, box).catch(() => {});
  },
  double: async (_, { selector, times }, page) =>
    page.locator(selector).first().evaluate((element, times) => { for (let n = 0; n < times; n++) element.click(); }, times),
  press: async (_, { key }, page) => page.keyboard.press(key),
  text: async (_, { selector }, page) => page.locator(selector).first().innerText(),
  wait: async (_, { selector, state = "visible" }, page) => { await page.locator(selector).first().waitFor({ state }); },
  evaluate: async (_, { expression }, page) => page.evaluate(expression),
  focused: async (_, __, page) => page.evaluate("document.activeElement?.innerText ?? ''"),
  screenshot: async (_, { path }, page) => { await page.screenshot({ path, fullPage: true }); },
  url: async (_, __, page) => page.url(),
  requests: async person => person.requests.splice(0),
  errors: async person => person.errors.splice(0),
  downloads: async person => person.downloads.splice(0),
  calls: async (person, { wallet = 0 }) => person.wallets[wallet].calls.splice(0),
  wallet: async (person, { wallet = 0, ...wishes }) => person.wallets[wallet].become(wishes),
  lose: async (person, wishes) => person.lose(wishes),
  hold: async person => person.hold(),
  release: async person => person.release(),
  axe: async (_, __, page) => {
    // The page's own policy forbids scripts of others, so it is put in as the browser's own.
    await page.evaluate(readFileSync(AXE, "utf8"));
    const { violations } = await page.evaluate("axe.run(document, { resultTypes: ['violations'] })");
    return violations.map(({ id, impact, nodes }) => ({ id, impact, nodes: nodes.map(node => `${node.html} ${node.failureSummary}`) }));
  },
};

const print = value => process.stdout.write(JSON.stringify(value) + "\n");

async function end() {
  await browser.close().catch(() => {});
  rmSync(profile, { recursive: true, force: true });
  process.exit(0);
}

print({ ready: true });
const lines = createInterface({ input: process.stdin });
lines.on("line", async line => {
  const { id, order, person, tab = 0, ...wishes } = JSON.parse(line);
  try {
    const one = people.get(person);
    const made = await ORDERS[order](one, order === "open" ? { person, ...wishes } : wishes, one?.pages?.[tab]);
    print({ id, made: made ?? null });
  } catch (error) {
    print({ id, failed: String(error?.message ?? error) });
  }
});
lines.on("close", end);
