"""The rows of docs/identity-matrix.md: what the server does, what each client then does, and why they differ."""

from dataclasses import dataclass, field

CLIENTS = {
    "denizen": "denizen-identity",
    "python-sync": "azure-identity",
    "python-aio": "azure-identity.aio",
    "node": "@azure/identity",
    "go": "azidentity",
}

OWN = "30000000-0000-4000-8000-000000000002"
UNKNOWN = "00000000-dead-4bad-8bad-000000000000"


@dataclass
class Row:
    """`expected` is one verdict a client, in the order of CLIENTS."""

    section: str
    name: str
    commands: list
    expected: str
    why: str = ""
    endpoint: str = "arc"
    credential: str = "mic"
    client_id: str = ""
    variables: bool = True
    localhost: bool = False
    himds: bool = False
    timed: bool = False
    # Seconds; a client that has not decided by then hangs, as far as a program is concerned.
    patience: int = 100
    environment: dict = field(default_factory=dict)


def arc(section, name, commands, expected, why="", **rest):
    return Row(section, name, [f"arc {command}" for command in commands], expected, why, **rest)


CHALLENGE = "Azure Arc: the challenge"
KEY = "Azure Arc: the key file"
ANSWER = "Azure Arc: the answer"
WHICH = "Which endpoint, which identity"
AGAIN = "Asking again: the endpoint fails twice, then answers"

STOPS = (
    "No token for anybody. A chain of theirs with `skip` goes on, to whatever identity comes next; here a chain stops "
    "where an endpoint is there and answers wrongly."
)

ROWS = [
    arc(CHALLENGE, "as the real agent does", [], "ok ok ok ok ok"),
    arc(CHALLENGE, "401 with an empty body", ["body empty"], "ok ok ok ok ok"),
    arc(CHALLENGE, "401 with a plain-text body", ["body text"], "ok ok ok skip ok",
        "@azure/identity parses the 401's body, though it says nothing the header does not, and takes what is not "
        "JSON for a network failure. Nobody else reads it."),
    arc(CHALLENGE, "401 with JSON and no `Content-Type`", ["body untyped"], "ok ok ok ok ok"),
    arc(CHALLENGE, "401 with `Retry-After: 1`", ["retry-after 1"], "ok skip ok ok ok",
        "azure-identity's blocking transport obeys it, asks the same again without the key, and then keeps the "
        "401 as a throttled answer. The others, and we, follow the challenge."),
    arc(CHALLENGE, "a token at once, without a challenge", ["direct"], "ok skip ok ok fail",
        "Blocking azure-identity and azidentity insist on a challenge. A token that arrives without one is "
        "checked like any other here; refusing it would protect nobody."),
    arc(CHALLENGE, "realm in quotes", ["realm quoted"], "ok ok fail skip fail",
        "Quotes are what RFC 7235 has. We take one pair off, and the path must then pass every check; the others "
        "take the quote for a part of the path (blocking azure-identity uses the name between the last slash and "
        "the last dot, and never sees it)."),
    arc(CHALLENGE, "`basic realm=` in lower case", ["realm lower-case"], "ok ok ok skip fail",
        "A scheme is case-insensitive by RFC 7235. @azure/identity and azidentity look for the text as the agent "
        "writes it."),
    arc(CHALLENGE, "the path without `Basic realm=`", ["realm bare"], "fail fail fail skip fail",
        STOPS),
    arc(CHALLENGE, "a second parameter after the path", ["realm extra-parameter"], "fail fail fail skip fail",
        STOPS),
    arc(CHALLENGE, "no `WWW-Authenticate`", ["realm absent"], "fail fail fail skip fail",
        STOPS),
    arc(CHALLENGE, "every key is refused with another challenge", ["rejects-key"], "fail skip fail skip fail",
        "All give up after one answer to one challenge. " + STOPS),
    arc(KEY, "realm in another directory, a file of that name in the right one", ["realm elsewhere"],
        "fail ok fail skip fail",
        "Blocking azure-identity drops the directory and reads the file of the same name in the right one. A "
        "challenge that names another place is not the agent's, so we refuse it."),
    arc(KEY, "realm in a directory inside the right one", ["realm subdirectory"], "fail fail fail skip fail",
        "The agent puts its keys directly into its directory; nobody here accepts another place. " + STOPS),
    arc(KEY, "realm that goes out of the directory and back (`..`)", ["realm roundabout"], "fail ok fail skip ok",
        "azidentity cleans the path before it compares, blocking azure-identity looks at the name alone. We "
        "compare what was sent: the agent has no reason to write such a path."),
    arc(KEY, "newline after the key", ["key newline"], "ok fail fail ok fail",
        "We and @azure/identity trim it: no key has white space at its ends. The other three put it into a "
        "header, which their transports refuse."),
    arc(KEY, "link to a file in the directory", ["key link-inside"], "fail ok ok ok ok",
        "Deliberately stricter: whoever can make a link there chooses which file is sent to the endpoint. The "
        "agent makes regular files."),
    arc(KEY, "link to a file outside", ["key link-outside"], "fail ok ok ok ok",
        "The same; with the others, a link there sends any readable file that is small enough."),
    arc(KEY, "a key of 4096 bytes", ["key size 4096"], "ok ok ok ok ok"),
    arc(KEY, "a key of 4097 bytes", ["key size 4097"], "fail fail fail skip fail",
        STOPS),
    arc(KEY, "a pipe nobody writes to", ["key fifo"], "fail hang hang hang hang",
        "We open without waiting and then look at what was opened. The others open the path and wait for a writer "
        "for as long as the program lives.",
        patience=20),
    arc(KEY, "a directory", ["key directory"], "fail fail fail skip fail",
        STOPS),
    arc(KEY, "an empty file", ["key empty"], "fail skip fail skip fail",
        "We refuse to send an empty key; the others send it and are refused. " + STOPS),
    arc(KEY, "no file", ["key missing"], "fail fail fail skip fail",
        STOPS),
    arc(ANSWER, "times as numbers", ["numbers"], "ok ok ok ok ok"),
    arc(ANSWER, "both answers chunked", ["chunked"], "ok ok ok ok ok"),
    arc(ANSWER, "`Connection: close`", ["close"], "ok ok ok ok ok"),
    arc(ANSWER, "no `expires_in`", ["omit expires_in"], "ok skip ok ok ok",
        "Blocking azure-identity takes `expires_in` for the proof that an answer holds a token. `expires_on` says "
        "the same."),
    arc(ANSWER, "no `expires_on`", ["omit expires_on"], "ok ok ok ok ok"),
    arc(ANSWER, "no `resource`", ["omit resource"], "ok ok fail ok ok",
        "azure-identity.aio reads the member without looking whether it is there. No other client needs to be "
        "told what it asked for."),
    arc(ANSWER, "no `token_type`", ["omit token_type"], "ok ok ok ok ok"),
    arc(ANSWER, "no `access_token`", ["omit access_token"], "skip skip fail skip empty",
        "What answers without a token is not an identity endpoint, so a chain goes on, as in blocking "
        "azure-identity and @azure/identity. azure-identity.aio stops. azidentity hands the program an empty token and "
        "no error."),
    arc(WHICH, "the endpoint is named `localhost`", [], "ok ok ok ok ok", localhost=True),
    arc(WHICH, "no variables, only the agent's program file", [], "ok ok skip ok ok",
        "azure-identity.aio does not look for the agent's program and asks IMDS, which is not there.",
        variables=False, himds=True),
    arc(WHICH, "the same for the chain", [], "ok fail fail ok ok",
        "azure-identity's blocking chain probes IMDS before it looks for the agent, its asynchronous one does not "
        "look for the agent at all. We, @azure/identity and azidentity find the agent first.",
        variables=False, himds=True, credential="dac"),
    arc(WHICH, "nothing at all, for the chain", [], "fail fail fail fail fail", variables=False, credential="dac"),
    arc(WHICH, "Arc, user-assigned by client id, confirmed", [], "ok ok ok ok ok", client_id=OWN),
    arc(WHICH, "Arc, user-assigned, the agent does not confirm", ["ignores-selector"], "fail fail fail skip fail",
        "The token would be the system identity's, and nobody accepts it. " + STOPS,
        client_id=OWN),
    arc(WHICH, "Arc, unknown client id", [], "fail skip fail skip fail",
        STOPS,
        client_id=UNKNOWN),
    arc(WHICH, "Arc, chain, `AZURE_CLIENT_ID` set, the agent does not confirm", ["ignores-selector"],
        "fail fail fail fail fail", credential="dac", environment={"AZURE_CLIENT_ID": OWN}),
    Row(WHICH, "IMDS at its address", [], "ok ok ok ok ok", endpoint="imds"),
    Row(WHICH, "IMDS at its address, for the chain", [], "ok ok ok ok ok", endpoint="imds", credential="dac"),
    Row(WHICH, "App Service", [], "ok ok ok ok ok", endpoint="app_service"),
    Row(WHICH, "Azure ML", [], "ok ok ok ok ok", endpoint="azure_ml"),
    Row(WHICH, "Cloud Shell", [], "ok ok ok ok ok", endpoint="cloud_shell"),
    Row(WHICH, "Service Fabric", [], "ok ok ok skip ok",
        "The cluster's certificate is self-signed. @azure/identity validates it against the system's roots and "
        "has no use for the thumbprint; it works where the certificate is trusted.",
        endpoint="service_fabric"),
    Row(WHICH, "Service Fabric, a server of another thumbprint", [], "fail fail ok skip fail",
        "azure-identity.aio sends its secret header to any server; blocking azure-identity, azidentity and we "
        "only to the one with the thumbprint.",
        endpoint="service_fabric", environment={"IDENTITY_SERVER_THUMBPRINT": "00" * 20}),
    Row(AGAIN, "IMDS, 404", ["imds fail 2 404"], "ok ok ok ok ok", endpoint="imds", timed=True),
    Row(AGAIN, "IMDS, 410", ["imds fail 2 410"], "ok ok ok ok ok",
        "We wait longest: an update that answers 410 may take 70 seconds.",
        endpoint="imds", timed=True),
    Row(AGAIN, "IMDS, 429", ["imds fail 2 429"], "ok ok ok skip ok",
        "@azure/identity retries a 429 only when it is told how long to wait. The documented advice for IMDS is "
        "to retry it.",
        endpoint="imds", timed=True),
    Row(AGAIN, "IMDS, 500", ["imds fail 2 500"], "ok ok ok ok ok", endpoint="imds", timed=True),
    Row(AGAIN, "IMDS, 503", ["imds fail 2 503"], "ok ok ok ok ok", endpoint="imds", timed=True),
    Row(AGAIN, "IMDS, 429 with `Retry-After: 1`", ["imds fail 2 429 1"], "ok ok ok ok ok", endpoint="imds", timed=True),
    Row(AGAIN, "IMDS, 400", ["imds fail 2 400"], "skip skip skip skip skip",
        "For the machine's own identity a 400 says that it has none: unavailable to all.",
        endpoint="imds", timed=True),
    Row(AGAIN, "App Service, 404", ["app_service fail 2 404"], "fail skip fail ok fail",
        "@azure/identity retries it, as with IMDS; elsewhere than at IMDS and Arc a 404 does not pass by waiting.",
        endpoint="app_service", timed=True),
    Row(AGAIN, "App Service, 429", ["app_service fail 2 429"], "ok ok ok skip ok",
        "@azure/identity retries a 429 only when it is told how long to wait.",
        endpoint="app_service", timed=True),
    Row(AGAIN, "App Service, 500", ["app_service fail 2 500"], "ok ok ok ok ok", endpoint="app_service", timed=True),
    arc(AGAIN, "Arc, 404", ["fail 2 404"], "ok skip fail ok fail",
        "The documented advice for IMDS is to retry a 404. We and @azure/identity follow it for the agent too; azidentity and "
        "azure-identity do not.",
        timed=True),
    arc(AGAIN, "Arc, 429", ["fail 2 429"], "ok ok ok skip ok",
        "@azure/identity retries a 429 only when it is told how long to wait.",
        timed=True),
    arc(AGAIN, "Arc, 503", ["fail 2 503"], "ok ok ok ok ok", timed=True),
]
