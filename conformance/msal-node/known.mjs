// What every case here knows: dev.json, the applications that were registered, the person, and who signs tokens.

import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { promisify } from "node:util";

import { createRemoteJWKSet, jwtVerify } from "jose";

export const dev = JSON.parse(readFileSync(process.env.DENIZEN_DEV_JSON, "utf8"));
export const applications = JSON.parse(readFileSync(process.env.DENIZEN_APPLICATIONS, "utf8"));
export const AUTHORITY = `${dev.authority}/${dev.tenant_id}`;
export const AZURE_CLI = "04b07795-8ddb-461a-bbee-02f9e1bf7b46";
export const VAULT = "https://vault.azure.net/.default";
export const ARM = "https://management.azure.com/.default";
export const STORAGE = "https://storage.azure.com/.default";

export class Mismatch extends Error {}

export function holds(what, is) {
  if (!is) throw new Mismatch(what);
}

// The error of a call that must fail.
export async function refusal(what, call) {
  let result;
  try {
    result = await call;
  } catch (error) {
    return error;
  }
  throw new Mismatch(`${what}: ${JSON.stringify(result)}`);
}

export const certificate = (name) => readFileSync(`${process.env.DENIZEN_CERTIFICATES}/${name}.crt`, "utf8");
export const privateKey = (name) => readFileSync(`${process.env.DENIZEN_CERTIFICATES}/${name}.key`, "utf8");

async function person(...words) {
  try {
    const { stdout } = await promisify(execFile)(process.env.DENIZEN_PERSON, words);
    return stdout.trim().split("\n");
  } catch (error) {
    throw new Mismatch(`the person is stuck: ${error.stdout}${error.stderr}`);
  }
}

// Where the URLs lead, opened one after the other in one browser.
export async function opened(...urls) {
  const ends = await person("open", ...urls.map(String));
  holds(`the pages end with ${ends}`, ends.every((end) => URL.canParse(end)));
  return ends.map((end) => new URL(end));
}

export const decide = (code, uri) => person("decide", code, uri);

const keys = createRemoteJWKSet(new URL(`${AUTHORITY}/discovery/v2.0/keys`));

// The claims of a token for this resource that one of the published keys has signed.
export async function claims(token, audience) {
  return (await jwtVerify(token, keys, { algorithms: ["RS256"], audience })).payload;
}

export function isTheUser(said) {
  holds(`it is about ${JSON.stringify(said)}`, said.idtyp === "user" && said.upn === dev.user.name);
}

export function isTheApplication(said, id) {
  holds(`it is about ${JSON.stringify(said)}`, said.idtyp === "app" && said.appid === id);
}
