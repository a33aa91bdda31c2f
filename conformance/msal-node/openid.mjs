// People and applications by openid-client, which knows nothing of Microsoft; tokens are looked at by jose.

import { X509Certificate } from "node:crypto";

import { createRemoteJWKSet, importPKCS8, jwtVerify } from "jose";
import * as client from "openid-client";

import {
  AUTHORITY, AZURE_CLI, VAULT, applications, certificate, claims, decide, dev, holds, isTheApplication, isTheUser,
  opened, privateKey, refusal,
} from "./known.mjs";

const { shop, orders } = applications;
const ISSUER = `${AUTHORITY}/v2.0`;

async function discovered(id, credential) {
  const config = await client.discovery(new URL(ISSUER), id, undefined, credential);
  client.enableNonRepudiationChecks(config);
  return config;
}

// An authorization request, and what must come back with it.
async function request(config, scope, more = {}) {
  const pkceCodeVerifier = client.randomPKCECodeVerifier();
  const [expectedState, expectedNonce] = [client.randomState(), client.randomNonce()];
  const url = client.buildAuthorizationUrl(config, {
    redirect_uri: applications.redirect_uri,
    scope,
    state: expectedState,
    nonce: expectedNonce,
    code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: "S256",
    ...more,
  });
  return { url, checks: { pkceCodeVerifier, expectedState, expectedNonce, idTokenExpected: true } };
}

async function discovery() {
  const config = await discovered(shop.client_id, client.ClientSecretPost(shop.secret));
  const server = config.serverMetadata();
  holds(`the issuer is ${server.issuer}`, server.issuer === ISSUER);
  holds("it does not say that it says iss", server.authorization_response_iss_parameter_supported === true);
  holds("it does not say S256", server.supportsPKCE("S256"));
  for (const name of ["authorization", "token", "device_authorization", "end_session"]) {
    const endpoint = server[`${name}_endpoint`];
    holds(`its ${name} endpoint is ${endpoint}`, new URL(endpoint).origin === new URL(ISSUER).origin);
  }
  // By another name than its own it is another issuer.
  const common = client.discovery(new URL(`${dev.authority}/common/v2.0`), "x");
  const other = await refusal("an issuer of another name was taken", common);
  holds(`another issuer: ${other.code}`, other.code === "OAUTH_JSON_ATTRIBUTE_COMPARISON_FAILED");
}

async function code() {
  const config = await discovered(shop.client_id, client.ClientSecretPost(shop.secret));
  const { url, checks } = await request(config, "openid profile email offline_access");
  const [back] = await opened(url);
  holds(`iss is ${back.searchParams.get("iss")}`, back.searchParams.get("iss") === ISSUER);
  // RFC 9207: with another issuer's name, or with none, the client does not even send the code.
  for (const change of [(query) => query.set("iss", `${dev.authority}/x/v2.0`), (query) => query.delete("iss")]) {
    const other = new URL(back);
    change(other.searchParams);
    const grant = client.authorizationCodeGrant(config, other, checks);
    const error = await refusal("another issuer's answer was taken", grant);
    const why = `${error.code} ${error.message} ${error.cause?.message}`;
    holds(`another issuer's answer: ${why}`, error.code === "OAUTH_INVALID_RESPONSE" && why.includes('"iss"'));
  }
  const tokens = await client.authorizationCodeGrant(config, back, checks);
  const keys = createRemoteJWKSet(new URL(config.serverMetadata().jwks_uri));
  const meant = { issuer: ISSUER, audience: shop.client_id };
  const { payload, protectedHeader } = await jwtVerify(tokens.id_token, keys, meant);
  holds(`it is signed by ${protectedHeader.alg}`, protectedHeader.alg === "RS256");
  const of = JSON.stringify(payload);
  holds(`the id token is ${of}`, payload.preferred_username === dev.user.name && payload.tid === dev.tenant_id);
  holds(`the nonce is ${payload.nonce}`, payload.nonce === checks.expectedNonce);
  const again = await client.refreshTokenGrant(config, tokens.refresh_token);
  holds("a refresh brings another person", again.claims().sub === payload.sub);
  const twice = await refusal("a code was redeemed twice", client.authorizationCodeGrant(config, back, checks));
  holds(`a code that was redeemed twice: ${twice.error}`, twice.error === "invalid_grant");
  const refreshed = client.refreshTokenGrant(config, again.refresh_token);
  const late = await refusal("what came of a code that was redeemed twice is good", refreshed);
  holds(`what came of it: ${late.error}`, late.error === "invalid_grant");
}

async function verifier() {
  const config = await discovered(shop.client_id, client.ClientSecretBasic(shop.secret));
  const { url, checks } = await request(config, "openid");
  const [back] = await opened(url);
  const error = await refusal(
    "another's verifier was taken",
    client.authorizationCodeGrant(config, back, { ...checks, pkceCodeVerifier: client.randomPKCECodeVerifier() }),
  );
  const said = `${error.error} ${error.error_description}`;
  holds(`another's verifier: ${said}`, said.startsWith("invalid_grant AADSTS501481"));
}

async function formPost() {
  const config = await discovered(shop.client_id, client.ClientSecretPost(shop.secret));
  const { url, checks } = await request(config, "openid", { response_mode: "form_post" });
  const [shown] = await opened(url);
  const posted = new Request(shown.origin + shown.pathname, { method: "POST", body: shown.searchParams });
  const tokens = await client.authorizationCodeGrant(config, posted, checks);
  holds("the id token is another's", tokens.claims().preferred_username === dev.user.name);
}

async function device() {
  const config = await discovered(AZURE_CLI, client.None());
  const shown = await client.initiateDeviceAuthorization(config, { scope: `openid offline_access ${VAULT}` });
  const decided = decide(shown.user_code, shown.verification_uri);
  const tokens = await client.pollDeviceAuthorizationGrant(config, shown);
  await decided;
  isTheUser(await claims(tokens.access_token, "https://vault.azure.net"));
  holds("the id token is another's", tokens.claims().preferred_username === dev.user.name);
}

async function application() {
  const { fingerprint256 } = new X509Certificate(certificate("own"));
  const thumbprint = Buffer.from(fingerprint256.replaceAll(":", ""), "hex").toString("base64url");
  // The token service asks which certificate's key it is.
  const named = { [client.modifyAssertion]: (header) => (header["x5t#S256"] = thumbprint) };
  const key = async (name, alg) => client.PrivateKeyJwt(await importPKCS8(privateKey(name), alg), named);
  const good = {
    client_secret_post: client.ClientSecretPost(orders.secret),
    client_secret_basic: client.ClientSecretBasic(orders.secret),
    "private_key_jwt with PS256": await key("own", "PS256"),
    "private_key_jwt with RS256": await key("own", "RS256"),
  };
  for (const [method, credential] of Object.entries(good)) {
    const config = await discovered(orders.client_id, credential);
    const tokens = await client.clientCredentialsGrant(config, { scope: VAULT }).catch((error) => {
      throw new Error(`${method}: ${error.error_description ?? error.message}`);
    });
    isTheApplication(await claims(tokens.access_token, "https://vault.azure.net"), orders.client_id);
  }
  const bad = {
    AADSTS7000215: client.ClientSecretBasic("not the secret"),
    AADSTS700027: await key("foreign", "PS256"),
  };
  for (const [number, credential] of Object.entries(bad)) {
    const config = await discovered(orders.client_id, credential);
    const error = await refusal(`${number} is not said`, client.clientCredentialsGrant(config, { scope: VAULT }));
    // With a challenge in the answer's head this client does not read its body.
    const said = error.error ? JSON.stringify(error.cause) : await error.response.text();
    holds(`${number} is not said: ${said}`, said.includes("invalid_client") && said.includes(number));
  }
}

async function signOut() {
  const config = await discovered(shop.client_id, client.ClientSecretPost(shop.secret));
  const first = await request(config, "openid");
  const [back] = await opened(first.url);
  const { id_token } = await client.authorizationCodeGrant(config, back, first.checks);
  const silent = async () => (await request(config, "openid", { prompt: "none" })).url;
  const after = { post_logout_redirect_uri: applications.signed_out_uri, state: "a state" };
  const out = (more) => client.buildEndSessionUrl(config, { ...after, ...more });
  for (const more of [{}, { id_token_hint: id_token }]) {
    const ends = await opened((await request(config, "openid")).url, await silent(), out(more), await silent());
    holds(`the session is not found: ${ends[1]}`, ends[1].searchParams.has("code"));
    holds(`signing out leads to ${ends[2]}`, ends[2].href === `${applications.signed_out_uri}?state=a+state`);
    holds(`signed out: ${ends[3]}`, ends[3].searchParams.get("error") === "login_required");
  }
}

export default { discovery, code, verifier, formPost, device, application, signOut };
