// Runs one case in this process and exits 0 when it holds, 1 when it does not, which it says in one line.
//
//   suite.mjs msal|openid CASE
//   suite.mjs version PACKAGE

import { readFileSync } from "node:fs";

const [client, name] = process.argv.slice(2);

if (client === "version") {
  console.log(JSON.parse(readFileSync(new URL(`node_modules/${name}/package.json`, import.meta.url), "utf8")).version);
} else {
  const { Mismatch } = await import("./known.mjs");
  const { default: cases } = await import(`./${client}.mjs`);
  try {
    await cases[name]();
  } catch (error) {
    const kind = error instanceof Mismatch ? "" : `${error.name}: `;
    const why = error.error_description ?? error.cause?.message ?? "";
    console.log(`${kind}${error.message} ${why}`.replace(/\s+/g, " ").trim());
    process.exitCode = 1;
  }
}
