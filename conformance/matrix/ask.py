"""Asks azure-identity for one token: ask.py sync|aio mic|dac [CLIENT_ID]; says as JSON what came of it."""

import asyncio
import json
import sys
import time

import azure.identity
import azure.identity.aio

SCOPE = "https://vault.azure.net/.default"


def make(module, kind, client_id):
    if kind == "dac":
        return module.DefaultAzureCredential()
    return module.ManagedIdentityCredential(**({"client_id": client_id} if client_id else {}))


def blocking(kind, client_id):
    with make(azure.identity, kind, client_id) as credential:
        return credential.get_token(SCOPE)


async def asynchronous(kind, client_id):
    async with make(azure.identity.aio, kind, client_id) as credential:
        return await credential.get_token(SCOPE)


def main(way, kind, client_id=None):
    started = time.monotonic()
    answer = {"version": azure.identity.__version__}
    try:
        token = blocking(kind, client_id) if way == "sync" else asyncio.run(asynchronous(kind, client_id))
        answer["ok"] = bool(token.token)
    except Exception as error:  # whatever it throws is what the table is about
        unavailable = isinstance(error, azure.identity.CredentialUnavailableError)
        answer.update(ok=False, message=f"{type(error).__name__}: {error}")
        answer["class"] = "unavailable" if unavailable else "failed"
    answer["ms"] = round((time.monotonic() - started) * 1000)
    print(json.dumps(answer))


main(*sys.argv[1:])
