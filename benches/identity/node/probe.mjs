// The chain of @azure/identity, timed as benches/identity/rust/main.rs times ours: `nothing` or `agent`.
// The package is the one the conformance suite has installed.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const installed = new URL("../../../conformance/node/", import.meta.url);
const require = createRequire(new URL("package.json", installed));
const { version } = JSON.parse(readFileSync(new URL("node_modules/@azure/identity/package.json", installed)));
const { DefaultAzureCredential } = require("@azure/identity");

const WARM = 20;
const KEPT = 2000;
const SCOPE = "https://vault.azure.net/.default";

async function ask(scope) {
  const started = performance.now();
  let error;
  try {
    await new DefaultAzureCredential().getToken(scope);
  } catch (refused) {
    error = refused;
  }
  return { ms: performance.now() - started, error };
}

async function nothing() {
  const { ms, error } = await ask(SCOPE);
  if (!error) throw new Error("there is an identity here");
  if (!/Authentication|Credential/.test(error.name)) throw error;
  return { first_ms: ms };
}

async function agent() {
  const first = await ask(SCOPE);
  if (first.error) throw first.error;
  const warm = [];
  for (let number = 0; number < WARM; number++) {
    const { ms, error } = await ask(`https://node-${number}.example/.default`);
    if (error) throw error;
    warm.push(ms);
  }
  const credential = new DefaultAzureCredential();
  await credential.getToken(SCOPE);
  const started = performance.now();
  for (let i = 0; i < KEPT; i++) await credential.getToken(SCOPE);
  return { first_ms: first.ms, warm_ms: warm, kept_ns: ((performance.now() - started) / KEPT) * 1e6 };
}

const result = await { nothing, agent }[process.argv[2]]();
console.log(JSON.stringify({ client: `JS @azure/identity ${version}`, ...result }));
process.exit(0);
