// What the run expects of a token and of the vault, read from dev.json.
// Nothing here talks to the network.

import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";

export const VAULT_RESOURCE = "https://vault.azure.net";
export const VAULT_SCOPE = `${VAULT_RESOURCE}/.default`;

// Every client treats a token with less than this left as expired.
const LEAST_USEFUL_LIFE_SECONDS = 300;

// A refusal has to reach the program before a person would give up.
const REFUSAL_MILLISECONDS = 10_000;

export const NOBODY = "00000000-dead-4bad-8bad-000000000000";
export const NOBODY_RESOURCE_ID =
  `/subscriptions/${NOBODY}/resourceGroups/nowhere` +
  "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/nobody";

// Text that a careless encoder, header or shell would damage.
export const AWKWARD_VALUE = 'first line\n"quoted" \\ back, tab\t, ünïcode ☃, <&>, trailing space ';

/** Denizen answered, and the answer is not what the protocol promises. */
export class Mismatch extends Error {}

export function check(condition, what) {
  if (!condition) throw new Mismatch(what);
}

export function equal(what, found, wanted) {
  check(
    isDeepStrictEqual(found, wanted),
    `${what} is ${JSON.stringify(found)}, expected ${JSON.stringify(wanted)}`,
  );
}

/** dev.json, as far as the cases need it. */
export class Dev {
  constructor() {
    const dev = JSON.parse(readFileSync(process.env.DENIZEN_DEV_JSON, "utf8"));
    this.tenantId = dev.tenant_id;
    this.clientId = dev.machine.client_id;
    this.principalId = dev.machine.principal_id;
    this.secretName = dev.secret.name;
    this.secretValue = dev.secret.value;
    this.vaultUrl = process.env.DENIZEN_VAULT_URL;
  }

  /**
   * The client's own challenge check stays on, except where the vault is called
   * `localhost`: that host can never end with the challenge's domain, so no
   * client could pass its own check there.
   */
  vaultOptions() {
    return new URL(this.vaultUrl).hostname === "localhost"
      ? { disableChallengeResourceVerification: true }
      : {};
  }

  /** The token names this machine, this tenant and the vault, and lives. */
  checkToken(token) {
    const claims = claimsOf(token.token);
    const now = Date.now() / 1000;
    equal("oid", claims.oid, this.principalId);
    equal("appid", claims.appid, this.clientId);
    equal("tid", claims.tid, this.tenantId);
    equal("aud", claims.aud, VAULT_RESOURCE);
    check(
      claims.exp > now + LEAST_USEFUL_LIFE_SECONDS,
      `exp is ${claims.exp}, now is ${Math.floor(now)}: too short to be cached`,
    );
    check(
      Math.abs(token.expiresOnTimestamp / 1000 - claims.exp) <= 60,
      `expiresOnTimestamp ${token.expiresOnTimestamp} is not the token's own exp ${claims.exp}`,
    );
  }
}

/** The claims of a compact JWS, unverified: verifying is the vault's part. */
function claimsOf(jwt) {
  const segments = jwt.split(".");
  equal("number of JWT segments", segments.length, 3);
  const [header, claims] = segments
    .slice(0, 2)
    .map((segment) => JSON.parse(Buffer.from(segment, "base64url").toString("utf8")));
  equal("alg", header.alg, "RS256");
  check(segments[2] !== "", "the signature is empty");
  return claims;
}

/** A name no earlier run used: a deleted name may stay taken for a while. */
export function newSecretName(setting) {
  return `js-${setting}-${randomBytes(6).toString("hex")}`;
}

/**
 * Runs what must be refused. A refusal must be an answer, and quick; that
 * nobody answered is no proof of anything, so connection troubles do not count.
 */
export async function expectRefusal(what, attempt) {
  const started = Date.now();
  let error;
  try {
    await attempt();
  } catch (caught) {
    error = caught;
  }
  check(error !== undefined, `a token was given for ${what}`);
  const took = Date.now() - started;
  check(took < REFUSAL_MILLISECONDS, `${what} refused only after ${took} ms: ${error.message}`);
  check(
    !/ECONN|EHOSTUNREACH|ETIMEDOUT|timed out|socket hang up|network/i.test(error.message),
    `${what}: not a refusal but no answer: ${error.message}`,
  );
  check(
    ["CredentialUnavailableError", "AuthenticationError", "AuthenticationRequiredError"].includes(error.name),
    `${what}: ${error.name} is no refusal of the client's: ${error.message}`,
  );
}
