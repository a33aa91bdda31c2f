// People and applications by @azure/msal-node.

import { X509Certificate } from "node:crypto";

import { ConfidentialClientApplication, CryptoProvider, PublicClientApplication } from "@azure/msal-node";

import {
  ARM, AUTHORITY, AZURE_CLI, STORAGE, VAULT, applications, certificate, claims, decide, dev, holds, isTheApplication,
  isTheUser, opened, privateKey, refusal,
} from "./known.mjs";

const redirectUri = applications.redirect_uri;

// A known authority is one whose host Microsoft is not asked about.
const auth = (clientId, credential) => ({
  auth: { clientId, authority: AUTHORITY, knownAuthorities: [new URL(AUTHORITY).host], ...credential },
});
const publicClient = (clientId = AZURE_CLI) => new PublicClientApplication(auth(clientId));
const orders = (credential = { clientSecret: applications.orders.secret }) =>
  new ConfidentialClientApplication(auth(applications.orders.client_id, credential));

async function signIn(app, scopes) {
  const { verifier, challenge } = await new CryptoProvider().generatePkceCodes();
  const [nonce, state] = ["a nonce", "a state"];
  const pkce = { codeChallenge: challenge, codeChallengeMethod: "S256" };
  const [back] = await opened(await app.getAuthCodeUrl({ scopes, redirectUri, nonce, state, ...pkce }));
  const brought = Object.fromEntries(back.searchParams);
  holds(`the pages end with ${back}`, brought.code && brought.state === state);
  const request = { scopes, redirectUri, code: brought.code, codeVerifier: verifier, state, nonce };
  return { request, brought, result: await app.acquireTokenByCode(request, brought) };
}

async function silently(app, account) {
  const cached = await app.acquireTokenSilent({ scopes: [ARM], account });
  holds("a token that is good was asked for again", cached.fromCache);
  // For another resource by the refresh token, and once more by the one that followed it.
  for (const forceRefresh of [false, true]) {
    const other = await app.acquireTokenSilent({ scopes: [VAULT], account, forceRefresh });
    holds("another resource's token was in the cache", !other.fromCache);
    isTheUser(await claims(other.accessToken, "https://vault.azure.net"));
  }
}

// The client waits on loopback for a code, which the person's browser posts, and makes the challenge itself.
async function interactive() {
  const app = publicClient();
  const openBrowser = async (url) => {
    holds(`there is no challenge in ${url}`, new URL(url).searchParams.get("code_challenge_method") === "S256");
    const [shown] = await opened(url);
    const answer = await fetch(shown.origin + shown.pathname, {
      method: "POST",
      body: shown.searchParams,
      redirect: "manual",
    });
    holds(`the program answers ${answer.status}`, answer.status < 400);
  };
  const result = await app.acquireTokenInteractive({ scopes: [ARM], openBrowser });
  isTheUser(await claims(result.accessToken, "https://management.azure.com"));
  await silently(app, result.account);
}

async function code() {
  const app = publicClient();
  const { request, brought, result } = await signIn(app, [ARM]);
  isTheUser(await claims(result.accessToken, "https://management.azure.com"));
  const said = await claims(result.idToken, AZURE_CLI);
  holds(`the id token is about ${said.preferred_username}`, said.preferred_username === dev.user.name);
  holds(`the nonce is ${said.nonce}`, said.nonce === "a nonce");
  const { account } = result;
  holds(`the account is ${account.username}`, account.username === dev.user.name && account.tenantId === dev.tenant_id);
  await silently(app, account);
  const twice = await refusal("a code was redeemed twice", app.acquireTokenByCode(request, brought));
  holds(`a code that was redeemed twice: ${twice}`, twice.errorCode === "invalid_grant");
}

async function verifier() {
  const app = publicClient();
  const pkce = await new CryptoProvider().generatePkceCodes();
  const asked = { scopes: [ARM], redirectUri, codeChallenge: pkce.challenge, codeChallengeMethod: "S256" };
  const [back] = await opened(await app.getAuthCodeUrl(asked));
  const code = back.searchParams.get("code");
  const request = { scopes: [ARM], redirectUri, code, codeVerifier: `${pkce.verifier}x` };
  const error = await refusal("another's verifier was taken", app.acquireTokenByCode(request));
  holds(`another's verifier: ${error}`, error.errorCode === "invalid_grant" && error.message.includes("AADSTS501481"));
}

async function device() {
  const app = publicClient();
  let decided;
  const result = await app.acquireTokenByDeviceCode({
    scopes: [ARM],
    deviceCodeCallback: (shown) => (decided = decide(shown.userCode, shown.verificationUri)),
  });
  await decided;
  isTheUser(await claims(result.accessToken, "https://management.azure.com"));
  await silently(app, result.account);
}

async function secret() {
  const app = orders();
  const result = await app.acquireTokenByClientCredential({ scopes: [VAULT] });
  isTheApplication(await claims(result.accessToken, "https://vault.azure.net"), applications.orders.client_id);
  const cached = await app.acquireTokenByClientCredential({ scopes: [VAULT] });
  holds("a token that is good was asked for again", cached.fromCache);
  const wrong = orders({ clientSecret: "not the secret" });
  const error = await refusal("a wrong secret was taken", wrong.acquireTokenByClientCredential({ scopes: [VAULT] }));
  holds(`a wrong secret: ${error}`, error.errorCode === "invalid_client" && error.message.includes("AADSTS7000215"));
}

function certified(name, whose = certificate(name)) {
  const thumbprintSha256 = new X509Certificate(whose).fingerprint256.replaceAll(":", "");
  return orders({ clientCertificate: { thumbprintSha256, privateKey: privateKey(name) } });
}

async function byCertificate() {
  const result = await certified("own").acquireTokenByClientCredential({ scopes: [VAULT] });
  isTheApplication(await claims(result.accessToken, "https://vault.azure.net"), applications.orders.client_id);
  // A certificate that is nobody's, and a key that is not the certificate's.
  for (const app of [certified("foreign"), certified("foreign", certificate("own"))]) {
    const error = await refusal("another's key was taken", app.acquireTokenByClientCredential({ scopes: [VAULT] }));
    holds(`another's key: ${error}`, error.errorCode === "invalid_client" && error.message.includes("AADSTS700027"));
  }
}

async function onBehalfOf() {
  // The person consents on the page.
  const { result } = await signIn(publicClient(applications.program.client_id), [applications.scope]);
  const called = await claims(result.accessToken);
  holds(`it may do ${called.scp}`, called.scp === "Orders.Read" && called.appid === applications.program.client_id);
  const middle = orders();
  const request = { oboAssertion: result.accessToken, scopes: [STORAGE] };
  const early = await refusal("nobody has consented to that", middle.acquireTokenOnBehalfOf(request));
  holds(`without consent: ${early.name}`, early.name === "InteractionRequiredAuthError");
  holds(`without consent: ${early.subError}`, early.subError === "consent_required");
  await signIn(orders(), [STORAGE]);
  const said = await claims((await orders().acquireTokenOnBehalfOf(request)).accessToken, "https://storage.azure.com");
  isTheUser(said);
  holds(`it is by ${said.appid}`, said.appid === applications.orders.client_id);
  // By its certificate too, and what is kept of it is found again.
  const again = certified("own");
  isTheUser(await claims((await again.acquireTokenOnBehalfOf(request)).accessToken, "https://storage.azure.com"));
  holds("a token that is good was asked for again", (await again.acquireTokenOnBehalfOf(request)).fromCache);
  const itself = applications.scope.replace(/[^/]*$/, ".default");
  const mine = await middle.acquireTokenByClientCredential({ scopes: [itself] });
  const wrong = middle.acquireTokenOnBehalfOf({ oboAssertion: mine.accessToken, scopes: [STORAGE] });
  const error = await refusal("an application's own token was taken for a user's", wrong);
  holds(`an application's own token: ${error}`, error.message.includes("AADSTS7000114"));
}

export default { interactive, code, verifier, device, secret, certificate: byCertificate, onBehalfOf };
