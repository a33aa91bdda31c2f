// Runs one case in this process and exits 0 when it holds, 1 when it does not.
//
//   suite.mjs SETTING CASE
//   suite.mjs version
//
// One process a case: the client keeps its token cache, and even the kind of
// endpoint it found, in statics, and a case must not pass on what another one
// left there.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { Dev, Mismatch } from "./expected.mjs";

const [setting, name] = process.argv.slice(2);

if (setting === "version") {
  const manifest = new URL("node_modules/@azure/identity/package.json", import.meta.url);
  console.log(JSON.parse(readFileSync(fileURLToPath(manifest), "utf8")).version);
} else {
  const { CASES } = await import("./cases.mjs");
  try {
    await CASES[name](new Dev(), setting);
  } catch (error) {
    const kind = error instanceof Mismatch ? "" : `${error.name}: `;
    console.log(`${kind}${error.message}`.replace(/\s+/g, " "));
    process.exitCode = 1;
  }
}
