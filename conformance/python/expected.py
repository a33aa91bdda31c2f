"""What the run expects of a token and of the vault, read from dev.json.

Nothing here talks to the network; both the synchronous and the asynchronous
cases check against it, so neither can be held to less than the other.
"""

import base64
import json
import os
import secrets
import time
from urllib.parse import urlsplit

VAULT_RESOURCE = "https://vault.azure.net"
VAULT_SCOPE = VAULT_RESOURCE + "/.default"

# Every client treats a token with less than this left as expired.
LEAST_USEFUL_LIFE_SECONDS = 300

# A refusal has to reach the program before a person would give up.
REFUSAL_SECONDS = 10

NOBODY = "00000000-dead-4bad-8bad-000000000000"
NOBODY_RESOURCE_ID = (
    "/subscriptions/00000000-dead-4bad-8bad-000000000000/resourceGroups/nowhere"
    "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/nobody"
)

# Text that a careless encoder, header or shell would damage.
AWKWARD_VALUE = "first line\n\"quoted\" \\ back, tab\t, ünïcode ☃, <&>, trailing space "


class Mismatch(AssertionError):
    """Denizen answered, and the answer is not what the protocol promises."""


def check(condition, what):
    """`assert` that survives `python -O` and always says what was wrong."""
    if not condition:
        raise Mismatch(what)


def equal(what, found, wanted):
    check(found == wanted, f"{what} is {found!r}, expected {wanted!r}")


class Dev:
    """dev.json, as far as the cases need it."""

    def __init__(self):
        with open(os.environ["DENIZEN_DEV_JSON"], encoding="utf-8") as file:
            dev = json.load(file)
        self.tenant_id = dev["tenant_id"]
        self.client_id = dev["machine"]["client_id"]
        self.principal_id = dev["machine"]["principal_id"]
        self.secret_name = dev["secret"]["name"]
        self.secret_value = dev["secret"]["value"]
        self.vault_url = os.environ["DENIZEN_VAULT_URL"].rstrip("/")

    def vault_options(self):
        """The client's own challenge check stays on, except where the vault is
        called `localhost`: that host can never end with the challenge's
        domain, so no client could pass its own check there."""
        if urlsplit(self.vault_url).hostname == "localhost":
            return {"verify_challenge_resource": False}
        return {}

    def check_token(self, token):
        """The token names this machine, this tenant and the vault, and lives."""
        claims = claims_of(token.token)
        now = time.time()
        equal("oid", claims.get("oid"), self.principal_id)
        equal("appid", claims.get("appid"), self.client_id)
        equal("tid", claims.get("tid"), self.tenant_id)
        equal("aud", claims.get("aud"), VAULT_RESOURCE)
        check(
            claims.get("exp", 0) > now + LEAST_USEFUL_LIFE_SECONDS,
            f"exp is {claims.get('exp')!r}, now is {now:.0f}: too short to be cached",
        )
        check(
            abs(token.expires_on - claims["exp"]) <= 60,
            f"expires_on {token.expires_on} is not the token's own exp {claims['exp']}",
        )


def claims_of(jwt):
    """The claims of a compact JWS, unverified: verifying is the vault's part."""
    segments = jwt.split(".")
    equal("number of JWT segments", len(segments), 3)
    header = json.loads(_unpadded(segments[0]))
    equal("alg", header.get("alg"), "RS256")
    check(segments[2], "the signature is empty")
    return json.loads(_unpadded(segments[1]))


def _unpadded(segment):
    return base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))


def new_secret_name(flavour, setting):
    """A name no earlier run used: a deleted name may stay taken for a while."""
    return f"py-{flavour}-{setting}-{secrets.token_hex(6)}"


def check_refusal(
    error, started, unavailable_words=("refused", "timed out", "Max retries", "Cannot connect"), says=None
):
    """A refusal must be an answer, and quick. That nobody answered is no proof
    of anything, so connection troubles do not count as one. `says` is what the
    server's own text must have in it."""
    took = time.monotonic() - started
    check(took < REFUSAL_SECONDS, f"refused only after {took:.1f} s: {error}")
    for word in unavailable_words:
        check(word not in str(error), f"not a refusal but no answer: {error}")
    if says is not None:
        check(says in str(error), f"refused, and not with '{says}': {error}")
