"""The cases, with the blocking clients. `aio_cases` says the same with the
asynchronous ones; keep the two side by side."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError
from azure.identity import DefaultAzureCredential, ManagedIdentityCredential
from azure.keyvault.secrets import SecretClient

from expected import (
    AWKWARD_VALUE,
    NOBODY,
    NOBODY_RESOURCE_ID,
    VAULT_SCOPE,
    Mismatch,
    check,
    check_refusal,
    equal,
    new_secret_name,
)

FLAVOUR = "sync"


def managed_identity(dev, setting):
    with ManagedIdentityCredential() as credential:
        _main_job(credential, dev, setting)


def default_credential(dev, setting):
    with DefaultAzureCredential() as credential:
        _main_job(credential, dev, setting)


def default_credential_with_client_id(dev, setting):
    # DefaultAzureCredential takes AZURE_CLIENT_ID for a user-assigned identity.
    # On a machine that has it set for other reasons, naming the machine's own
    # identity must work, echo included.
    os.environ["AZURE_CLIENT_ID"] = dev.client_id
    with DefaultAzureCredential() as credential:
        dev.check_token(credential.get_token(VAULT_SCOPE))


def identity_by_client_id(dev, setting):
    with ManagedIdentityCredential(client_id=dev.client_id) as credential:
        dev.check_token(credential.get_token(VAULT_SCOPE))


def identity_by_object_id(dev, setting):
    with ManagedIdentityCredential(identity_config={"object_id": dev.principal_id}) as credential:
        dev.check_token(credential.get_token(VAULT_SCOPE))


def unknown_identity(dev, setting):
    selectors = {
        "client_id": {"client_id": NOBODY},
        "object_id": {"identity_config": {"object_id": NOBODY}},
        "resource_id": {"identity_config": {"resource_id": NOBODY_RESOURCE_ID}},
    }
    for selector, arguments in selectors.items():
        started = time.monotonic()
        with ManagedIdentityCredential(**arguments) as credential:
            try:
                credential.get_token(VAULT_SCOPE)
            except ClientAuthenticationError as error:
                check_refusal(error, started, says="dentity not found")
            else:
                raise Mismatch(f"a token was given for an unknown {selector}")
    # The endpoint was there all along, and still is.
    with ManagedIdentityCredential() as credential:
        dev.check_token(credential.get_token(VAULT_SCOPE))


def wrong_header(dev, setting):
    right = os.environ["IDENTITY_HEADER"]
    for wrong in ("wrong", right[:-1], right + "x"):
        os.environ["IDENTITY_HEADER"] = wrong
        started = time.monotonic()
        with ManagedIdentityCredential() as credential:
            try:
                credential.get_token(VAULT_SCOPE)
            except ClientAuthenticationError as error:
                check_refusal(error, started, says="X-IDENTITY-HEADER")
            else:
                raise Mismatch("a token was given for a wrong IDENTITY_HEADER")
    os.environ["IDENTITY_HEADER"] = right
    with ManagedIdentityCredential() as credential:
        dev.check_token(credential.get_token(VAULT_SCOPE))


def concurrent_first_tokens(dev, setting):
    # Clients hold no lock before the first token is cached: each credential
    # has a challenge of its own in the air, and each must be answered.
    def first_token(_):
        with ManagedIdentityCredential() as credential:
            return credential.get_token(VAULT_SCOPE)

    with ThreadPoolExecutor(8) as pool:
        for token in pool.map(first_token, range(8)):
            dev.check_token(token)


def vault_refusals(dev, setting):
    with ManagedIdentityCredential() as credential, _vault(credential, dev) as vault:
        _refused(404, "SecretNotFound", lambda: vault.get_secret(new_secret_name(FLAVOUR, setting)))
        _refused(404, "SecretNotFound", lambda: vault.get_secret(dev.secret_name, "0" * 32))
        _refused(400, "BadParameter", lambda: vault.set_secret("under_score", "value"))
        _refused(400, "BadParameter", lambda: vault.set_secret("a" * 128, "value"))
        _refused(400, "BadParameter", lambda: vault.set_secret(new_secret_name(FLAVOUR, setting), "x" * 30_000))

        name = new_secret_name(FLAVOUR, setting)
        vault.set_secret(name, "value", enabled=False)
        _refused(403, "Forbidden", lambda: vault.get_secret(name))
        vault.update_secret_properties(name, enabled=True)
        equal("value after enabling", vault.get_secret(name).value, "value")
        vault.begin_delete_secret(name).wait()


def deleted_secrets(dev, setting):
    with ManagedIdentityCredential() as credential, _vault(credential, dev) as vault:
        name = new_secret_name(FLAVOUR, setting)
        version = vault.set_secret(name, "kept").properties.version
        vault.begin_delete_secret(name).wait()
        _refused(409, "Conflict", lambda: vault.set_secret(name, "another"))
        deleted = vault.get_deleted_secret(name)
        equal("name of the deleted secret", deleted.name, name)
        check(deleted.deleted_date, "deleted_date is absent")
        check(deleted.scheduled_purge_date > deleted.deleted_date, "the purge is not after the deletion")
        listed = [item.name for item in vault.list_deleted_secrets(max_page_size=1)]
        equal("times the deleted secret is listed", listed.count(name), 1)

        vault.begin_recover_deleted_secret(name).wait()
        recovered = vault.get_secret(name)
        equal("value after recovery", recovered.value, "kept")
        equal("version after recovery", recovered.properties.version, version)

        vault.begin_delete_secret(name).wait()
        vault.purge_deleted_secret(name)
        _refused(404, "SecretNotFound", lambda: vault.get_deleted_secret(name))
        vault.set_secret(name, "reborn")
        versions = list(vault.list_properties_of_secret_versions(name))
        equal("number of versions after a purge", len(versions), 1)
        vault.begin_delete_secret(name).wait()


CASES = {
    "managed-identity": managed_identity,
    "default": default_credential,
    "default-client-id": default_credential_with_client_id,
    "client-id": identity_by_client_id,
    "object-id": identity_by_object_id,
    "unknown-identity": unknown_identity,
    "wrong-header": wrong_header,
    "concurrent": concurrent_first_tokens,
    "vault-refusals": vault_refusals,
    "deleted-secrets": deleted_secrets,
}


def _vault(credential, dev):
    return SecretClient(dev.vault_url, credential, **dev.vault_options())


def _refused(status, code, call):
    try:
        call()
    except HttpResponseError as error:
        equal("status of the refusal", error.status_code, status)
        equal("code of the refusal", error.error and error.error.code, code)
        if status == 404:
            check(isinstance(error, ResourceNotFoundError), f"{type(error).__name__} for a 404")
    else:
        raise Mismatch(f"accepted, expected {status} {code}")


def _main_job(credential, dev, setting):
    """A token, twice; then a secret from its first version to its end."""
    dev.check_token(credential.get_token(VAULT_SCOPE))
    dev.check_token(credential.get_token(VAULT_SCOPE))

    with _vault(credential, dev) as vault:
        # Compared without showing either: results are kept and published.
        found = vault.get_secret(dev.secret_name)
        check(found.value == dev.secret_value, "the vault's value is not dev.json's")

        name = new_secret_name(FLAVOUR, setting)
        expires_on = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=30)
        first = vault.set_secret(
            name,
            "first",
            content_type="text/plain",
            tags={"made-by": "conformance", "setting": setting},
            expires_on=expires_on,
        )
        equal("name of the set secret", first.name, name)
        equal("value of the set secret", first.value, "first")
        equal("content type", first.properties.content_type, "text/plain")
        equal("tags", first.properties.tags, {"made-by": "conformance", "setting": setting})
        equal("expires_on", first.properties.expires_on, expires_on)
        check(first.properties.enabled, "a new secret is not enabled")
        check(first.properties.created_on, "created_on is absent")

        found = vault.get_secret(name)
        equal("value", found.value, "first")
        equal("version", found.properties.version, first.properties.version)
        equal("tags read back", found.properties.tags, first.properties.tags)

        second = vault.set_secret(name, AWKWARD_VALUE)
        check(second.properties.version != first.properties.version, "the new version has the old one's id")
        equal("latest value", vault.get_secret(name).value, AWKWARD_VALUE)
        equal("first version's value", vault.get_secret(name, first.properties.version).value, "first")

        updated = vault.update_secret_properties(
            name, second.properties.version, content_type="text/markdown", tags={"state": "updated"}
        )
        equal("updated tags", updated.tags, {"state": "updated"})
        found = vault.get_secret(name)
        equal("tags after update", found.properties.tags, {"state": "updated"})
        equal("content type after update", found.properties.content_type, "text/markdown")
        equal("value after update", found.value, AWKWARD_VALUE)

        # One item a page, so that every page but the last carries a nextLink.
        listed = [item.name for item in vault.list_properties_of_secrets(max_page_size=1)]
        equal("times the secret is listed", listed.count(name), 1)
        check(dev.secret_name in listed, "the secret of dev.json is not listed")
        versions = {item.version for item in vault.list_properties_of_secret_versions(name, max_page_size=1)}
        equal("versions", versions, {first.properties.version, second.properties.version})

        poller = vault.begin_delete_secret(name)
        equal("name of the deleted secret", poller.result().name, name)
        poller.wait()
        _refused(404, "SecretNotFound", lambda: vault.get_secret(name))
        _refused(404, "SecretNotFound", lambda: vault.get_secret(name, first.properties.version))
        listed = [item.name for item in vault.list_properties_of_secrets()]
        check(name not in listed, "the deleted secret is still listed")
