"""The cases of a machine's managed identity."""

import os
import time

from Azure.Core import ResourceIdentifier
from Azure.Identity import (
    AuthenticationFailedException,
    DefaultAzureCredential,
    ManagedIdentityCredential,
    ManagedIdentityId,
)
from expected import NOBODY, NOBODY_RESOURCE_ID, Mismatch, check_refusal
from System import Environment
from vault import context, deleted, read_token, refusals, token_of, whole_life


class NotOffered(Exception):
    """The client refuses by itself, before it sends anything."""


def managed_identity(dev, dialect):
    _main_job(_system_assigned(), dev, dialect)


def default_credential(dev, dialect):
    _main_job(DefaultAzureCredential(), dev, dialect)


def default_credential_with_client_id(dev, dialect):
    # The runtime has its own copy of the environment, made when it started.
    Environment.SetEnvironmentVariable("AZURE_CLIENT_ID", dev.client_id)
    _chosen(dialect, lambda: dev.check_token(token_of(DefaultAzureCredential())))


def identity_by_client_id(dev, dialect):
    _chosen(dialect, lambda: dev.check_token(token_of(_by_client_id(dev.client_id))))


def identity_by_object_id(dev, dialect):
    _chosen(dialect, lambda: dev.check_token(token_of(_by_object_id(dev.principal_id))))


def unknown_identity(dev, dialect):
    for selector, credential in {
        "client_id": lambda: _by_client_id(NOBODY),
        "object_id": lambda: _by_object_id(NOBODY),
        "resource_id": lambda: _by_resource_id(NOBODY_RESOURCE_ID),
    }.items():
        started = time.monotonic()
        try:
            _chosen(dialect, lambda make=credential: token_of(make()))
        except AuthenticationFailedException as error:
            check_refusal(error, started, says="dentity not found")
        else:
            raise Mismatch(f"a token was given for an unknown {selector}")
    # The endpoint was there all along, and still is.
    dev.check_token(token_of(_system_assigned()))


def wrong_header(dev, dialect):
    right = os.environ["IDENTITY_HEADER"]
    for wrong in ("wrong", right[:-1], right + "x"):
        Environment.SetEnvironmentVariable("IDENTITY_HEADER", wrong)
        started = time.monotonic()
        try:
            token_of(_system_assigned())
        except AuthenticationFailedException as error:
            check_refusal(error, started, says="X-IDENTITY-HEADER")
        else:
            raise Mismatch("a token was given for a wrong IDENTITY_HEADER")
    Environment.SetEnvironmentVariable("IDENTITY_HEADER", right)
    dev.check_token(token_of(_system_assigned()))


def concurrent_first_tokens(dev, dialect):
    tasks = [_system_assigned().GetTokenAsync(context()).AsTask() for _ in range(8)]
    for task in tasks:
        dev.check_token(read_token(task.GetAwaiter().GetResult()))


def vault_refusals(dev, dialect):
    refusals(_system_assigned(), dev, dialect)


def deleted_secrets(dev, dialect):
    deleted(_system_assigned(), dev, dialect)


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


def _system_assigned():
    return ManagedIdentityCredential(ManagedIdentityId.SystemAssigned)


def _by_client_id(client_id):
    return ManagedIdentityCredential(ManagedIdentityId.FromUserAssignedClientId(client_id))


def _by_object_id(object_id):
    return ManagedIdentityCredential(ManagedIdentityId.FromUserAssignedObjectId(object_id))


def _by_resource_id(resource_id):
    return ManagedIdentityCredential(ManagedIdentityId.FromUserAssignedResourceId(ResourceIdentifier(resource_id)))


def _chosen(dialect, call):
    """On Arc this version refuses to name an identity at all, whatever the endpoint could do."""
    try:
        return call()
    except Exception as error:
        said = str(error)
        if dialect == "arc" and "user-assigned" in said.lower() and "not supported" in said.lower():
            raise NotOffered(f"the SDK refuses: {said.splitlines()[0]}") from error
        raise


def _main_job(credential, dev, dialect):
    dev.check_token(token_of(credential))
    dev.check_token(token_of(credential))
    whole_life(credential, dev, dialect)
