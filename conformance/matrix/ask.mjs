// Asks @azure/identity for one token: ask.mjs mic|dac [CLIENT_ID]; says as JSON what came of it.
// The package is the one the conformance suite pins and installs.

import { createRequire } from "node:module";

const require = createRequire(new URL("../node/package.json", import.meta.url));
const identity = require("@azure/identity");
const { version } = require("../node/node_modules/@azure/identity/package.json");

const [kind, clientId] = process.argv.slice(2);
const started = performance.now();
let answer;
try {
  const credential =
    kind === "dac"
      ? new identity.DefaultAzureCredential()
      : new identity.ManagedIdentityCredential(...(clientId ? [{ clientId }] : []));
  const token = await credential.getToken("https://vault.azure.net/.default");
  answer = { ok: Boolean(token?.token) };
} catch (error) {
  // The two after which its chain goes on.
  const { CredentialUnavailableError, AuthenticationRequiredError } = identity;
  const unavailable = error instanceof CredentialUnavailableError || error instanceof AuthenticationRequiredError;
  answer = { ok: false, class: unavailable ? "unavailable" : "failed", message: `${error.name}: ${error.message}` };
}
console.log(JSON.stringify({ version, ...answer, ms: Math.round(performance.now() - started) }));
process.exit(0);
