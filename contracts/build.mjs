// Compiles our Solidity into contracts/artifacts. The settings leave no trace of the machine in the output, so anybody
// with the pinned compiler gets the same bytes; `--check` proves it and changes nothing.
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

// What is placed on a chain. The other sources are parts of these.
const CONTRACTS = [
  "Delegate7702",
  "Erc20",
  "FiatToken",
  "Multicall3",
  "Permit2",
  "Probe",
  "SmartWallet",
  "SmartWalletFactory",
  "X402ExactPermit2Proxy",
  "X402UptoPermit2Proxy",
];
const here = dirname(fileURLToPath(import.meta.url));
const modules = resolve(process.env.FARTHING_NODE_MODULES ?? join(here, "node_modules"));
const check = process.argv.includes("--check");

function fail(message) {
  console.error(message);
  process.exit(1);
}

function loadCompiler() {
  try {
    return createRequire(join(modules, "_"))(join(modules, "solc"));
  } catch (error) {
    return fail(
      `solc is not in ${modules}: run \`npm ci\` in contracts/, or set FARTHING_NODE_MODULES to a node_modules folder that has it (${error.message})`,
    );
  }
}

const solc = loadCompiler();
const pinned = JSON.parse(readFileSync(join(here, "package.json"), "utf8")).devDependencies.solc;
if (!solc.version().startsWith(`${pinned}+`)) {
  fail(`solc ${pinned} is pinned in package.json, ${modules} has ${solc.version()}`);
}

const input = {
  language: "Solidity",
  sources: Object.fromEntries(
    readdirSync(here)
      .filter((file) => file.endsWith(".sol"))
      .map((file) => [file, { content: readFileSync(join(here, file), "utf8") }]),
  ),
  settings: {
    evmVersion: "cancun",
    optimizer: { enabled: true, runs: 1000000 },
    viaIR: true,
    metadata: { bytecodeHash: "none", appendCBOR: false },
    outputSelection: { "*": { "*": ["abi", "evm.deployedBytecode.object", "evm.deployedBytecode.immutableReferences"] } },
  },
};
const output = JSON.parse(solc.compile(JSON.stringify(input)));
if (output.errors?.length) {
  // Warnings count: these contracts are small enough to have none.
  fail(output.errors.map((error) => error.formattedMessage).join("\n"));
}

let differences = 0;
mkdirSync(join(here, "artifacts"), { recursive: true });
for (const name of CONTRACTS) {
  const { abi, evm } = output.contracts[`${name}.sol`][name];
  if (Object.keys(evm.deployedBytecode.immutableReferences ?? {}).length > 0) {
    fail(`${name} has immutables: its runtime code could not be placed at an address without running a constructor`);
  }
  const artifact = { compiler: solc.version(), abi, runtime: `0x${evm.deployedBytecode.object}` };
  const text = `${JSON.stringify(artifact, null, 1)}\n`;
  const file = join(here, "artifacts", `${name}.json`);
  if (check) {
    let current = "";
    try {
      current = readFileSync(file, "utf8");
    } catch {
      // A missing artifact differs.
    }
    if (current !== text) {
      differences += 1;
      console.error(`${file} is not what ${name}.sol compiles to: run \`node contracts/build.mjs\``);
    }
  } else {
    writeFileSync(file, text);
    console.log(`${file}: ${evm.deployedBytecode.object.length / 2} bytes of runtime code`);
  }
}
process.exit(differences === 0 ? 0 : 1);
