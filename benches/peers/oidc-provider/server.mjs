// The peer of `./bench token-issue`: oidc-provider as a token service for one client, with JWT access tokens signed by
// RSA-2048 for one resource. It keeps what it makes in memory, records nothing, and ends when its standard input closes.
//
//   node server.mjs CERT.pem KEY.pem SECRET      prints `listening on https://localhost:PORT`; the client is `bench`
import { readFileSync } from "node:fs";
import { generateKeyPairSync } from "node:crypto";
import { createServer } from "node:https";
import { Provider } from "oidc-provider";

const RESOURCE = "urn:bench:api";
const [certificate, privateKey, secret] = process.argv.slice(2);
const signing = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ format: "jwk" });

const server = createServer({ cert: readFileSync(certificate), key: readFileSync(privateKey) });
server.listen(0, "127.0.0.1", () => {
  const url = `https://localhost:${server.address().port}`;
  const provider = new Provider(url, {
    clients: [
      {
        client_id: "bench",
        client_secret: secret,
        token_endpoint_auth_method: "client_secret_post",
        grant_types: ["client_credentials"],
        redirect_uris: [],
        response_types: [],
      },
    ],
    jwks: { keys: [{ ...signing, use: "sig", alg: "RS256", kid: "bench" }] },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => RESOURCE,
        getResourceServerInfo: () => ({
          scope: "api",
          audience: RESOURCE,
          accessTokenFormat: "jwt",
          accessTokenTTL: 3600,
          jwt: { sign: { alg: "RS256" } },
        }),
      },
    },
  });
  server.on("request", provider.callback());
  console.log(`listening on ${url}`);
});

process.stdin.on("end", () => process.exit(0)).resume();
