// Signs in on Denizen's pages with a real browser, as a person does: by the labels and the buttons that the page shows.
//
//   suite.mjs script|no-script
//
// Exits 0 when everything held, 1 when something did not, which it says in one line.

import { createHash, randomBytes, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { connect } from "node:tls";

import axe from "axe-core";
import puppeteer from "puppeteer-core";

const AZURE_CLI = "04b07795-8ddb-461a-bbee-02f9e1bf7b46";
const dev = JSON.parse(readFileSync(process.env.DENIZEN_DEV_JSON, "utf8"));
const withScript = process.argv[2] === "script";

class Mismatch extends Error {}

function holds(what, is) {
  if (!is) throw new Mismatch(what);
}

// The browser believes this one key and no other: its own store of authorities is not ours to change.
async function pin(url) {
  const { hostname, port } = new URL(url);
  const certificate = await new Promise((resolve, reject) => {
    const socket = connect({ host: hostname, port, servername: hostname }, () => {
      resolve(new X509Certificate(socket.getPeerX509Certificate().raw));
      socket.end();
    });
    socket.on("error", reject);
  });
  return createHash("sha256").update(certificate.publicKey.export({ type: "spki", format: "der" })).digest("base64");
}

// The program that has sent the browser: it waits for the code on loopback.
async function program() {
  const asked = [];
  const server = createServer((request, response) => {
    if (!request.url.startsWith("/favicon")) asked.push(new URL(request.url, "http://localhost"));
    response.setHeader("content-type", "text/html").end("<!DOCTYPE html><title>program</title>got it");
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { asked, uri: `http://127.0.0.1:${server.address().port}`, stop: () => server.close() };
}

function authorize(redirect_uri, verifier, more = {}) {
  const query = new URLSearchParams({
    client_id: AZURE_CLI,
    redirect_uri,
    response_type: "code",
    scope: "openid offline_access https://management.azure.com/.default",
    state: "a state",
    code_challenge: createHash("sha256").update(verifier).digest("base64url"),
    code_challenge_method: "S256",
    ...more,
  });
  return `${dev.authority}/${dev.tenant_id}/oauth2/v2.0/authorize?${query}`;
}

// WCAG 2.2 A and AA, and what axe calls good practice. The page's policy lets no script in, so it is let in by the debugger.
async function lookOver(page) {
  const title = await page.title();
  if (!withScript) {
    return;
  }
  await page.evaluate(axe.source);
  const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const faults = found.violations.map((it) => `${it.id} at ${it.nodes.map((node) => node.target.join(" ")).join(", ")}`);
  holds(`${title}: ${faults.join("; ")}`, faults.length === 0);
  holds(`${title}: axe has checked nothing`, found.passes.length > 0);
}

async function titled(page, title) {
  const is = await page.title();
  holds(`the page is '${is}', not '${title}'`, is === `${title} - Denizen`);
  await lookOver(page);
}

const type = (page, field, text) => page.type(`#${field}`, text);

async function press(page, name) {
  const button = await page.$(`::-p-aria([name="${name}"][role="button"])`);
  holds(`there is no button '${name}'`, button);
  await Promise.all([page.waitForNavigation(), button.click()]);
}

async function run(page) {
  const seen = [];
  page.on("console", (message) => seen.push(message.text()));
  page.on("pageerror", (error) => seen.push(error.message));
  await page.setJavaScriptEnabled(withScript);
  const client = await program();
  try {
    const verifier = randomBytes(32).toString("base64url");
    await page.goto(authorize(client.uri, verifier, { login_hint: dev.user.name }));
    await titled(page, "Sign in");
    holds("the password is not focused", !withScript || (await page.evaluate(() => document.activeElement.id)) === "password");
    await type(page, "password", "not the password");
    await press(page, "Sign in");
    await titled(page, "Sign in");
    const alert = await page.$eval("[role=alert]", (it) => it.textContent);
    holds(`it says '${alert}'`, alert.includes("invalid username or password"));
    await type(page, "password", dev.user.password);
    await press(page, "Sign in");
    holds(`the browser is at ${page.url()}`, page.url().startsWith(`${client.uri}/?code=`));
    const got = client.asked.at(-1).searchParams;
    holds("the state is another", got.get("state") === "a state");
    holds(`iss is ${got.get("iss")}`, got.get("iss") === `${dev.authority}/${dev.tenant_id}/v2.0`);

    // Signed in: the next one asks for no password, and whether it is wanted.
    await page.goto(authorize(client.uri, verifier));
    await titled(page, "Choose an account");
    await press(page, `Continue as ${dev.user.name}`);
    holds("the session is not found", client.asked.length === 2 && client.asked[1].searchParams.get("code") !== got.get("code"));

    await page.goto(authorize(client.uri, verifier, { prompt: "select_account" }));
    await titled(page, "Choose an account");
    await press(page, `Continue as ${dev.user.name}`);
    holds("no code came of the account", client.asked.length === 3);

    await page.goto(authorize("https://evil.test", verifier));
    await titled(page, "Sign-in is not possible");

    await page.goto(`${dev.authority}/device`);
    await titled(page, "Enter the code");
    await type(page, "user_code", "WRONGCODE");
    await press(page, "Continue");
    await titled(page, "Enter the code");

    await page.goto(`${dev.authority}/${dev.tenant_id}/oauth2/v2.0/logout`);
    await titled(page, "Sign out?");
    await press(page, "Sign out");
    await titled(page, "Signed out");
    await page.goto(authorize(client.uri, verifier));
    await titled(page, "Sign in");
    const refused = seen.filter((text) => text.includes("Content Security Policy"));
    holds(`the policy refuses what is on our pages: ${refused[0]}`, refused.length === 0);
  } finally {
    client.stop();
  }
}

const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: [
    `--ignore-certificate-errors-spki-list=${await pin(dev.authority)}`,
    // A suite may run as root in a namespace, where Chromium's own sandbox cannot be made.
    "--no-sandbox",
    "--disable-dev-shm-usage",
  ],
});
try {
  const [page] = await browser.pages();
  await run(page);
} catch (error) {
  console.log(`${error instanceof Mismatch ? "" : `${error.name}: `}${error.message}`.replace(/\s+/g, " "));
  process.exitCode = 1;
} finally {
  await browser.close();
}
