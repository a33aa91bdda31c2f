"""A secret's whole life through the unmodified SecretClient, and what the vault must refuse."""

import time
from collections import namedtuple

from Azure import RequestFailedException
from Azure.Core import TokenRequestContext
from Azure.Security.KeyVault.Secrets import KeyVaultSecret, SecretClient
from expected import AWKWARD_VALUE, VAULT_SCOPE, Mismatch, check, equal, new_secret_name
from System import Array, DateTimeOffset, String, Uri

FLAVOUR = "dotnet"

# The service's own page size: this client does not ask for another.
PAGE = 25

Token = namedtuple("Token", "token expires_on")


def context(scope=VAULT_SCOPE):
    return TokenRequestContext(Array[String]([scope]), None)


def token_of(credential, scope=VAULT_SCOPE):
    return read_token(credential.GetToken(context(scope)))


def read_token(answer):
    """The form in which `expected` checks a token."""
    return Token(answer.Token, answer.ExpiresOn.ToUnixTimeSeconds())


def client(credential, dev):
    return SecretClient(Uri(dev.vault_url), credential)


def whole_life(credential, dev, dialect):
    vault = client(credential, dev)
    # Compared without showing either: results are kept and published.
    found = vault.GetSecret(dev.secret_name).Value
    check(found.Value == dev.secret_value, "the vault's value is not dev.json's")

    name = new_secret_name(FLAVOUR, dialect)
    expires_on = int(time.time()) + 30 * 24 * 60 * 60
    secret = KeyVaultSecret(name, "first")
    secret.Properties.ContentType = "text/plain"
    secret.Properties.Tags["made-by"] = "conformance"
    secret.Properties.ExpiresOn = DateTimeOffset.FromUnixTimeSeconds(expires_on)
    first = vault.SetSecret(secret).Value
    equal("name of the set secret", first.Name, name)
    equal("value of the set secret", first.Value, "first")
    equal("content type", first.Properties.ContentType, "text/plain")
    equal("tags", _tags(first.Properties), {"made-by": "conformance"})
    equal("expiry", first.Properties.ExpiresOn.ToUnixTimeSeconds(), expires_on)
    check(first.Properties.Enabled, "a new secret is not enabled")
    check(first.Properties.CreatedOn, "the creation time is absent")

    found = vault.GetSecret(name).Value
    equal("value", found.Value, "first")
    equal("version", found.Properties.Version, first.Properties.Version)

    second = vault.SetSecret(name, AWKWARD_VALUE).Value
    check(second.Properties.Version != first.Properties.Version, "the new version has the old one's id")
    equal("latest value", vault.GetSecret(name).Value.Value, AWKWARD_VALUE)
    equal("first version's value", vault.GetSecret(name, first.Properties.Version).Value.Value, "first")

    change = second.Properties
    change.ContentType = "text/markdown"
    change.Tags["state"] = "updated"
    updated = vault.UpdateSecretProperties(change).Value
    equal("updated tags", _tags(updated), {"state": "updated"})
    found = vault.GetSecret(name).Value
    equal("tags after update", _tags(found.Properties), {"state": "updated"})
    equal("content type after update", found.Properties.ContentType, "text/markdown")
    equal("value after update", found.Value, AWKWARD_VALUE)

    listed = [item.Name for item in vault.GetPropertiesOfSecrets()]
    equal("times the secret is listed", listed.count(name), 1)
    check(dev.secret_name in listed, "the secret of dev.json is not listed")
    _versions_over_two_pages(vault, name, {first.Properties.Version, second.Properties.Version})

    operation = vault.StartDeleteSecret(name)
    equal("name of the deleted secret", operation.Value.Name, name)
    operation.WaitForCompletion()
    refused(404, "SecretNotFound", lambda: vault.GetSecret(name))
    refused(404, "SecretNotFound", lambda: vault.GetSecret(name, first.Properties.Version))
    check(name not in [item.Name for item in vault.GetPropertiesOfSecrets()], "the deleted secret is still listed")


def _versions_over_two_pages(vault, name, made):
    """As many versions as need a second page, which only the first page's nextLink leads to."""
    while len(made) <= PAGE:
        made.add(vault.SetSecret(name, f"version {len(made)}").Value.Properties.Version)
    pages = [[item.Version for item in page.Values] for page in vault.GetPropertiesOfSecretVersions(name).AsPages()]
    equal("pages of versions", len(pages), 2)
    listed = [version for page in pages for version in page]
    equal("number of versions", len(listed), len(made))
    equal("versions", set(listed), made)


def refusals(credential, dev, dialect):
    vault = client(credential, dev)
    refused(404, "SecretNotFound", lambda: vault.GetSecret(new_secret_name(FLAVOUR, dialect)))
    refused(404, "SecretNotFound", lambda: vault.GetSecret(dev.secret_name, "0" * 32))
    refused(400, "BadParameter", lambda: vault.SetSecret("under_score", "value"))
    refused(400, "BadParameter", lambda: vault.SetSecret("a" * 128, "value"))
    refused(400, "BadParameter", lambda: vault.SetSecret(new_secret_name(FLAVOUR, dialect), "x" * 30_000))

    name = new_secret_name(FLAVOUR, dialect)
    secret = KeyVaultSecret(name, "value")
    secret.Properties.Enabled = False
    properties = vault.SetSecret(secret).Value.Properties
    refused(403, "Forbidden", lambda: vault.GetSecret(name))
    properties.Enabled = True
    vault.UpdateSecretProperties(properties)
    equal("value after enabling", vault.GetSecret(name).Value.Value, "value")
    vault.StartDeleteSecret(name).WaitForCompletion()


def deleted(credential, dev, dialect):
    vault = client(credential, dev)
    name = new_secret_name(FLAVOUR, dialect)
    version = vault.SetSecret(name, "kept").Value.Properties.Version
    vault.StartDeleteSecret(name).WaitForCompletion()
    refused(409, "Conflict", lambda: vault.SetSecret(name, "another"))
    found = vault.GetDeletedSecret(name).Value
    equal("name of the deleted secret", found.Name, name)
    check(found.DeletedOn, "the deletion time is absent")
    check(
        found.ScheduledPurgeDate.ToUnixTimeSeconds() > found.DeletedOn.ToUnixTimeSeconds(),
        "the purge is not after the deletion",
    )
    listed = [item.Name for item in vault.GetDeletedSecrets()]
    equal("times the deleted secret is listed", listed.count(name), 1)

    vault.StartRecoverDeletedSecret(name).WaitForCompletion()
    recovered = vault.GetSecret(name).Value
    equal("value after recovery", recovered.Value, "kept")
    equal("version after recovery", recovered.Properties.Version, version)

    vault.StartDeleteSecret(name).WaitForCompletion()
    vault.PurgeDeletedSecret(name)
    refused(404, "SecretNotFound", lambda: vault.GetDeletedSecret(name))
    vault.SetSecret(name, "reborn")
    equal("number of versions after a purge", len(list(vault.GetPropertiesOfSecretVersions(name))), 1)
    vault.StartDeleteSecret(name).WaitForCompletion()


def refused(status, code, call):
    try:
        call()
    except RequestFailedException as error:
        equal("status of the refusal", error.Status, status)
        equal("code of the refusal", error.ErrorCode, code)
    else:
        raise Mismatch(f"accepted, expected {status} {code}")


def _tags(properties):
    return {tag.Key: tag.Value for tag in properties.Tags}
