"""The cases, with the asynchronous clients. They are another implementation
than the blocking ones (another challenge parser, another transport, other
query keys), which is why they are run in full."""

import asyncio
import os
import time
from datetime import datetime, timedelta, timezone

from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError
from azure.identity.aio import DefaultAzureCredential, ManagedIdentityCredential
from azure.keyvault.secrets.aio import SecretClient

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

FLAVOUR = "aio"


async def managed_identity(dev, setting):
    async with ManagedIdentityCredential() as credential:
        await _main_job(credential, dev, setting)


async def default_credential(dev, setting):
    async with DefaultAzureCredential() as credential:
        await _main_job(credential, dev, setting)


async def default_credential_with_client_id(dev, setting):
    # See the blocking case: AZURE_CLIENT_ID selects, and must be echoed.
    os.environ["AZURE_CLIENT_ID"] = dev.client_id
    async with DefaultAzureCredential() as credential:
        dev.check_token(await credential.get_token(VAULT_SCOPE))


async def identity_by_client_id(dev, setting):
    async with ManagedIdentityCredential(client_id=dev.client_id) as credential:
        dev.check_token(await credential.get_token(VAULT_SCOPE))


async def identity_by_object_id(dev, setting):
    async with ManagedIdentityCredential(identity_config={"object_id": dev.principal_id}) as credential:
        dev.check_token(await credential.get_token(VAULT_SCOPE))


async def unknown_identity(dev, setting):
    selectors = {
        "client_id": {"client_id": NOBODY},
        "object_id": {"identity_config": {"object_id": NOBODY}},
        "resource_id": {"identity_config": {"resource_id": NOBODY_RESOURCE_ID}},
    }
    for selector, arguments in selectors.items():
        started = time.monotonic()
        async with ManagedIdentityCredential(**arguments) as credential:
            try:
                await credential.get_token(VAULT_SCOPE)
            except ClientAuthenticationError as error:
                check_refusal(error, started, says="dentity not found")
            else:
                raise Mismatch(f"a token was given for an unknown {selector}")
    # The endpoint was there all along, and still is.
    async with ManagedIdentityCredential() as credential:
        dev.check_token(await credential.get_token(VAULT_SCOPE))


async def wrong_header(dev, setting):
    right = os.environ["IDENTITY_HEADER"]
    for wrong in ("wrong", right[:-1], right + "x"):
        os.environ["IDENTITY_HEADER"] = wrong
        started = time.monotonic()
        async with ManagedIdentityCredential() as credential:
            try:
                await credential.get_token(VAULT_SCOPE)
            except ClientAuthenticationError as error:
                check_refusal(error, started, says="X-IDENTITY-HEADER")
            else:
                raise Mismatch("a token was given for a wrong IDENTITY_HEADER")
    os.environ["IDENTITY_HEADER"] = right
    async with ManagedIdentityCredential() as credential:
        dev.check_token(await credential.get_token(VAULT_SCOPE))


async def concurrent_first_tokens(dev, setting):
    async def first_token():
        async with ManagedIdentityCredential() as credential:
            return await credential.get_token(VAULT_SCOPE)

    for token in await asyncio.gather(*(first_token() for _ in range(8))):
        dev.check_token(token)


async def vault_refusals(dev, setting):
    async with ManagedIdentityCredential() as credential, _vault(credential, dev) as vault:
        await _refused(404, "SecretNotFound", vault.get_secret(new_secret_name(FLAVOUR, setting)))
        await _refused(404, "SecretNotFound", vault.get_secret(dev.secret_name, "0" * 32))
        await _refused(400, "BadParameter", vault.set_secret("under_score", "value"))
        await _refused(400, "BadParameter", vault.set_secret("a" * 128, "value"))
        await _refused(400, "BadParameter", vault.set_secret(new_secret_name(FLAVOUR, setting), "x" * 30_000))

        name = new_secret_name(FLAVOUR, setting)
        await vault.set_secret(name, "value", enabled=False)
        await _refused(403, "Forbidden", vault.get_secret(name))
        await vault.update_secret_properties(name, enabled=True)
        equal("value after enabling", (await vault.get_secret(name)).value, "value")
        await vault.delete_secret(name)


async def deleted_secrets(dev, setting):
    async with ManagedIdentityCredential() as credential, _vault(credential, dev) as vault:
        name = new_secret_name(FLAVOUR, setting)
        version = (await vault.set_secret(name, "kept")).properties.version
        await vault.delete_secret(name)
        await _refused(409, "Conflict", vault.set_secret(name, "another"))
        deleted = await vault.get_deleted_secret(name)
        equal("name of the deleted secret", deleted.name, name)
        check(deleted.deleted_date, "deleted_date is absent")
        check(deleted.scheduled_purge_date > deleted.deleted_date, "the purge is not after the deletion")
        listed = [item.name async for item in vault.list_deleted_secrets(max_page_size=1)]
        equal("times the deleted secret is listed", listed.count(name), 1)

        await vault.recover_deleted_secret(name)
        recovered = await vault.get_secret(name)
        equal("value after recovery", recovered.value, "kept")
        equal("version after recovery", recovered.properties.version, version)

        await vault.delete_secret(name)
        await vault.purge_deleted_secret(name)
        await _refused(404, "SecretNotFound", vault.get_deleted_secret(name))
        await vault.set_secret(name, "reborn")
        versions = [item async for item in vault.list_properties_of_secret_versions(name)]
        equal("number of versions after a purge", len(versions), 1)
        await vault.delete_secret(name)


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


async def _refused(status, code, call):
    try:
        await call
    except HttpResponseError as error:
        equal("status of the refusal", error.status_code, status)
        equal("code of the refusal", error.error and error.error.code, code)
        if status == 404:
            check(isinstance(error, ResourceNotFoundError), f"{type(error).__name__} for a 404")
    else:
        raise Mismatch(f"accepted, expected {status} {code}")


async def _main_job(credential, dev, setting):
    """A token, twice; then a secret from its first version to its end."""
    dev.check_token(await credential.get_token(VAULT_SCOPE))
    dev.check_token(await credential.get_token(VAULT_SCOPE))

    async with _vault(credential, dev) as vault:
        # Compared without showing either: results are kept and published.
        found = await vault.get_secret(dev.secret_name)
        check(found.value == dev.secret_value, "the vault's value is not dev.json's")

        name = new_secret_name(FLAVOUR, setting)
        expires_on = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=30)
        first = await vault.set_secret(
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

        found = await vault.get_secret(name)
        equal("value", found.value, "first")
        equal("version", found.properties.version, first.properties.version)
        equal("tags read back", found.properties.tags, first.properties.tags)

        second = await vault.set_secret(name, AWKWARD_VALUE)
        check(second.properties.version != first.properties.version, "the new version has the old one's id")
        equal("latest value", (await vault.get_secret(name)).value, AWKWARD_VALUE)
        found = await vault.get_secret(name, first.properties.version)
        equal("first version's value", found.value, "first")

        updated = await vault.update_secret_properties(
            name, second.properties.version, content_type="text/markdown", tags={"state": "updated"}
        )
        equal("updated tags", updated.tags, {"state": "updated"})
        found = await vault.get_secret(name)
        equal("tags after update", found.properties.tags, {"state": "updated"})
        equal("content type after update", found.properties.content_type, "text/markdown")
        equal("value after update", found.value, AWKWARD_VALUE)

        # One item a page, so that every page but the last carries a nextLink.
        listed = [item.name async for item in vault.list_properties_of_secrets(max_page_size=1)]
        equal("times the secret is listed", listed.count(name), 1)
        check(dev.secret_name in listed, "the secret of dev.json is not listed")
        versions = {item.version async for item in vault.list_properties_of_secret_versions(name, max_page_size=1)}
        equal("versions", versions, {first.properties.version, second.properties.version})

        equal("name of the deleted secret", (await vault.delete_secret(name)).name, name)
        await _refused(404, "SecretNotFound", vault.get_secret(name))
        await _refused(404, "SecretNotFound", vault.get_secret(name, first.properties.version))
        listed = [item.name async for item in vault.list_properties_of_secrets()]
        check(name not in listed, "the deleted secret is still listed")
