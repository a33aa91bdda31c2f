"""The chain of azure-identity for Python, timed as benches/identity/rust/main.rs times ours: `nothing` or `agent`."""

import json
import logging
import sys
import time
from importlib.metadata import version

from azure.core.exceptions import ClientAuthenticationError
from azure.identity import DefaultAzureCredential

WARM = 20
KEPT = 2000
SCOPE = "https://vault.azure.net/.default"


def ask(scope):
    started = time.perf_counter()
    credential = DefaultAzureCredential()
    error = None
    try:
        credential.get_token(scope)
    except ClientAuthenticationError as refused:
        error = refused
    return (time.perf_counter() - started) * 1000, error


def agent():
    first, error = ask(SCOPE)
    warm = []
    for number in range(WARM):
        took, refused = ask(f"https://python-{number}.example/.default")
        error = error or refused
        warm.append(took)
    if error:
        raise error
    credential = DefaultAzureCredential()
    credential.get_token(SCOPE)
    started = time.perf_counter()
    for _ in range(KEPT):
        credential.get_token(SCOPE)
    kept = (time.perf_counter() - started) / KEPT * 1e9
    return {"first_ms": first, "warm_ms": warm, "kept_ns": kept}


def nothing():
    first, error = ask(SCOPE)
    if error is None:
        raise SystemExit("there is an identity here")
    return {"first_ms": first}


logging.disable(logging.CRITICAL)
result = {"nothing": nothing, "agent": agent}[sys.argv[1]]()
print(json.dumps({"client": f"Python azure-identity {version('azure-identity')}", **result}))
