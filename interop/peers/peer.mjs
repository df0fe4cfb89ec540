// What every Node peer shares: where its packages are, and the contract with the test that starts it.
// interop/peers/README.md states the contract.
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";

/** The value of a required environment variable; without it the peer can't run, so it ends. */
export function setting(name) {
  const value = process.env[name];
  if (value === undefined || value === "") {
    console.error(`${name} is not set: interop/peers/README.md says what this peer needs`);
    process.exit(2);
  }
  return value;
}

/** Loads a package of this peer's pinned set, which is installed outside the work tree. */
export const load = createRequire(join(setting("FARTHING_NODE_MODULES"), "_"));

/** Takes a place on loopback, for what has to know where it will be: its address, and what opens it for an app. */
export async function place() {
  const server = createServer();
  await new Promise(resolve => server.listen(Number(process.env.PORT ?? 0), "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${server.address().port}`;
  const open = app => {
    server.on("request", app);
    print({ listening: url });
    process.stdin.on("close", () => process.exit(0));
    process.stdin.resume();
  };
  return { url, open };
}

/** Listens on loopback, says where, and ends when the test that holds our standard input is gone. */
export async function serve(app) {
  const { open } = await place();
  open(app);
}

/** Buys URL once with the wrapped fetch, and prints what came of it. */
export async function buy(fetchWithPayment) {
  print(await purchase(fetchWithPayment, setting("URL")));
  process.exit(0);
}

/** Buys once with the wrapped fetch, by a GET or, if there is JSON to send, by a POST, and returns what came of it. */
export async function purchase(fetchWithPayment, url, json) {
  const post = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(json) };
  try {
    const response = await fetchWithPayment(url, json === undefined ? {} : post);
    const settlement = response.headers.get("PAYMENT-RESPONSE") ?? response.headers.get("X-PAYMENT-RESPONSE");
    return {
      status: response.status,
      body: parsed(await response.text()),
      settlement: decoded(settlement),
      refusal: decoded(response.headers.get("PAYMENT-REQUIRED"))?.error ?? null,
      error: null,
    };
  } catch (error) {
    return { status: null, body: null, settlement: null, refusal: null, error: String(error?.message ?? error) };
  }
}

/**
 * What every server peer sells: the report, with whatever `more` says of the request, and on routes that are named so an
 * answer that always fails.
 */
export function sellReport(app, paths = ["/report", "/fails"], more = () => ({})) {
  for (const path of paths) {
    app.get(path, (request, response) => {
      if (path.endsWith("fails")) {
        response.status(500).json({ error: "this handler always fails" });
      } else {
        response.json({ report: "a farthing's worth", ...more(path, request) });
      }
    });
  }
}

/** What a header of the protocol says. */
export function decoded(header) {
  return header === null ? null : JSON.parse(Buffer.from(header, "base64").toString("utf8"));
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function print(value) {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}
