// The cases, with the JavaScript clients.

import { DefaultAzureCredential, ManagedIdentityCredential } from "@azure/identity";
import { SecretClient } from "@azure/keyvault-secrets";

import {
  AWKWARD_VALUE,
  NOBODY,
  NOBODY_RESOURCE_ID,
  VAULT_SCOPE,
  check,
  equal,
  expectRefusal,
  newSecretName,
} from "./expected.mjs";

export const CASES = {
  async "managed-identity"(dev, setting) {
    await mainJob(new ManagedIdentityCredential(), dev, setting);
  },

  async default(dev, setting) {
    await mainJob(new DefaultAzureCredential(), dev, setting);
  },

  // DefaultAzureCredential takes AZURE_CLIENT_ID for a user-assigned identity.
  // On a machine that has it set for other reasons, naming the machine's own
  // identity must work, echo included.
  async "default-client-id"(dev) {
    process.env.AZURE_CLIENT_ID = dev.clientId;
    dev.checkToken(await new DefaultAzureCredential().getToken(VAULT_SCOPE));
  },

  async "client-id"(dev) {
    dev.checkToken(await new ManagedIdentityCredential({ clientId: dev.clientId }).getToken(VAULT_SCOPE));
  },

  async "object-id"(dev) {
    dev.checkToken(await new ManagedIdentityCredential({ objectId: dev.principalId }).getToken(VAULT_SCOPE));
  },

  async "unknown-identity"(dev) {
    for (const selector of [
      { clientId: NOBODY },
      { objectId: NOBODY },
      { resourceId: NOBODY_RESOURCE_ID },
    ]) {
      await expectRefusal(`an unknown ${Object.keys(selector)[0]}`, () =>
        new ManagedIdentityCredential(selector).getToken(VAULT_SCOPE),
      );
    }
    // The endpoint was there all along, and still is.
    dev.checkToken(await new ManagedIdentityCredential().getToken(VAULT_SCOPE));
  },

  async "wrong-header"(dev) {
    process.env.IDENTITY_HEADER = process.env.IDENTITY_HEADER.slice(0, -1);
    await expectRefusal("a truncated IDENTITY_HEADER", () =>
      new ManagedIdentityCredential().getToken(VAULT_SCOPE),
    );
    // No second header is tried, good or bad: the client keeps the source it found
    // first, header included, for the life of the process. The other cases of
    // this dialect show that the endpoint answers.
  },

  // Clients hold no lock before the first token is cached: each credential has
  // a challenge of its own in the air, and each must be answered.
  async concurrent(dev) {
    const tokens = await Promise.all(
      Array.from({ length: 8 }, () => new ManagedIdentityCredential().getToken(VAULT_SCOPE)),
    );
    tokens.forEach((token) => dev.checkToken(token));
  },

  async "vault-refusals"(dev, setting) {
    const vault = vaultOf(new ManagedIdentityCredential(), dev);
    await refused(404, "SecretNotFound", () => vault.getSecret(newSecretName(setting)));
    await refused(404, "SecretNotFound", () => vault.getSecret(dev.secretName, { version: "0".repeat(32) }));
    await refused(400, "BadParameter", () => vault.setSecret("under_score", "value"));
    await refused(400, "BadParameter", () => vault.setSecret("a".repeat(128), "value"));
    await refused(400, "BadParameter", () => vault.setSecret(newSecretName(setting), "x".repeat(30_000)));

    const name = newSecretName(setting);
    const { properties } = await vault.setSecret(name, "value", { enabled: false });
    await refused(403, "Forbidden", () => vault.getSecret(name));
    await vault.updateSecretProperties(name, properties.version, { enabled: true });
    equal("value after enabling", (await vault.getSecret(name)).value, "value");
    await (await vault.beginDeleteSecret(name)).pollUntilDone();
  },

  async "deleted-secrets"(dev, setting) {
    const vault = vaultOf(new ManagedIdentityCredential(), dev);
    const name = newSecretName(setting);
    const { version } = (await vault.setSecret(name, "kept")).properties;
    await (await vault.beginDeleteSecret(name)).pollUntilDone();
    await refused(409, "Conflict", () => vault.setSecret(name, "another"));
    const deleted = await vault.getDeletedSecret(name);
    equal("name of the deleted secret", deleted.name, name);
    const { deletedOn, scheduledPurgeDate } = deleted.properties;
    check(deletedOn instanceof Date, "deletedOn is absent");
    check(scheduledPurgeDate > deletedOn, "the purge is not after the deletion");
    const listed = await names(vault.listDeletedSecrets().byPage({ maxPageSize: 1 }));
    equal("times the deleted secret is listed", listed.filter((item) => item === name).length, 1);

    await (await vault.beginRecoverDeletedSecret(name)).pollUntilDone();
    const recovered = await vault.getSecret(name);
    equal("value after recovery", recovered.value, "kept");
    equal("version after recovery", recovered.properties.version, version);

    await (await vault.beginDeleteSecret(name)).pollUntilDone();
    await vault.purgeDeletedSecret(name);
    await refused(404, "SecretNotFound", () => vault.getDeletedSecret(name));
    await vault.setSecret(name, "reborn");
    const versions = [];
    for await (const item of vault.listPropertiesOfSecretVersions(name)) versions.push(item.version);
    equal("number of versions after a purge", versions.length, 1);
    await (await vault.beginDeleteSecret(name)).pollUntilDone();
  },
};

function vaultOf(credential, dev) {
  return new SecretClient(dev.vaultUrl, credential, dev.vaultOptions());
}

async function refused(status, code, attempt) {
  let error;
  try {
    await attempt();
  } catch (caught) {
    error = caught;
  }
  check(error !== undefined, `accepted, expected ${status} ${code}`);
  if (error.statusCode === undefined) throw error;
  equal("status of the refusal", error.statusCode, status);
  equal("code of the refusal", error.code, code);
}

/** A token, twice; then a secret from its first version to its end. */
async function mainJob(credential, dev, setting) {
  dev.checkToken(await credential.getToken(VAULT_SCOPE));
  dev.checkToken(await credential.getToken(VAULT_SCOPE));

  const vault = vaultOf(credential, dev);
  // Compared without showing either: results are kept and published.
  check(
    (await vault.getSecret(dev.secretName)).value === dev.secretValue,
    "the vault's value is not dev.json's",
  );

  const name = newSecretName(setting);
  const expiresOn = new Date(Math.floor(Date.now() / 1000 + 30 * 86_400) * 1000);
  const tags = { "made-by": "conformance", setting };
  const first = await vault.setSecret(name, "first", { contentType: "text/plain", tags, expiresOn });
  equal("name of the set secret", first.name, name);
  equal("value of the set secret", first.value, "first");
  equal("content type", first.properties.contentType, "text/plain");
  equal("tags", { ...first.properties.tags }, tags);
  equal("expiresOn", first.properties.expiresOn, expiresOn);
  equal("enabled", first.properties.enabled, true);
  check(first.properties.createdOn instanceof Date, "createdOn is absent");

  let found = await vault.getSecret(name);
  equal("value", found.value, "first");
  equal("version", found.properties.version, first.properties.version);
  equal("tags read back", { ...found.properties.tags }, tags);

  const second = await vault.setSecret(name, AWKWARD_VALUE);
  check(
    second.properties.version !== first.properties.version,
    "the new version has the old one's id",
  );
  equal("latest value", (await vault.getSecret(name)).value, AWKWARD_VALUE);
  found = await vault.getSecret(name, { version: first.properties.version });
  equal("first version's value", found.value, "first");

  const updated = await vault.updateSecretProperties(name, second.properties.version, {
    contentType: "text/markdown",
    tags: { state: "updated" },
  });
  equal("updated tags", { ...updated.tags }, { state: "updated" });
  found = await vault.getSecret(name);
  equal("tags after update", { ...found.properties.tags }, { state: "updated" });
  equal("content type after update", found.properties.contentType, "text/markdown");
  equal("value after update", found.value, AWKWARD_VALUE);

  // One item a page, so that every page but the last carries a nextLink.
  let listed = await names(vault.listPropertiesOfSecrets().byPage({ maxPageSize: 1 }));
  equal("times the secret is listed", listed.filter((item) => item === name).length, 1);
  check(listed.includes(dev.secretName), "the secret of dev.json is not listed");
  const versions = [];
  for await (const page of vault.listPropertiesOfSecretVersions(name).byPage({ maxPageSize: 1 })) {
    versions.push(...page.map((item) => item.version));
  }
  equal("versions", versions.sort(), [first.properties.version, second.properties.version].sort());

  const poller = await vault.beginDeleteSecret(name);
  equal("name of the deleted secret", (await poller.pollUntilDone()).name, name);
  await refused(404, "SecretNotFound", () => vault.getSecret(name));
  await refused(404, "SecretNotFound", () => vault.getSecret(name, { version: first.properties.version }));
  listed = await names(vault.listPropertiesOfSecrets().byPage());
  check(!listed.includes(name), "the deleted secret is still listed");
}

async function names(pages) {
  const found = [];
  for await (const page of pages) found.push(...page.map((item) => item.name));
  return found;
}
