"""The rows of docs/identity-matrix.md: what the server does, and what each client is predicted to do.

A prediction is written before the run, from what is known of each client: its source, its documentation. It says what
this library does and why that was chosen, and for each client that is predicted to do otherwise what it does and by
which of its habits. A client that is not named is predicted to do as this library does. The run then agrees or is at
fault: a cell that was not foreseen has no explanation, and a habit that was foreseen and is not there explains nothing.
"""

from dataclasses import dataclass, field

OURS, SYNC, AIO, NODE, GO = "denizen", "python-sync", "python-aio", "node", "go"
CLIENTS = {
    OURS: "denizen-identity",
    SYNC: "azure-identity",
    AIO: "azure-identity.aio",
    NODE: "@azure/identity",
    GO: "azidentity",
}
THEIRS = [SYNC, AIO, NODE, GO]

OWN = "30000000-0000-4000-8000-000000000002"
UNKNOWN = "00000000-dead-4bad-8bad-000000000000"


@dataclass(frozen=True)
class Other:
    """What a client does instead, and the habit that makes it."""

    verdict: str
    habit: str
    # Requests it makes, where that is predicted.
    asked: int | None = None


@dataclass
class Row:
    section: str
    name: str
    commands: list
    # What this library does: ok, fail (a chain stops), skip (a chain goes on).
    ours: str
    others: dict = field(default_factory=dict)
    # Why this library does so, where there was a choice.
    choice: str = ""
    endpoint: str = "arc"
    credential: str = "mic"
    client_id: str = ""
    variables: bool = True
    localhost: bool = False
    himds: bool = False
    # The requests that everybody makes who does as this library does; with them the time is shown.
    asked: int | None = None
    # Seconds; a client that has not decided by then hangs, as far as a program is concerned.
    patience: int = 100
    environment: dict = field(default_factory=dict)

    def __post_init__(self):
        for client, other in self.others.items():
            if other.verdict == self.ours and other.asked in (None, self.asked):
                raise ValueError(f"{self.name}: {client} is predicted to do as we do")
            if (other.asked is None) != (self.asked is None):
                raise ValueError(f"{self.name}: {client}'s requests are predicted, ours are not, or the reverse")

    def predicted(self, client):
        """Verdict, and requests where they are predicted."""
        other = self.others.get(client)
        return (other.verdict, other.asked) if other else (self.ours, self.asked)

    def why(self):
        """The last column: our choice, then each habit with the clients that have it."""
        habits = {}
        for client in THEIRS:
            if client in self.others:
                habits.setdefault(self.others[client].habit, []).append(CLIENTS[client])
        said = [f"{', '.join(clients)}: {habit}." for habit, clients in habits.items()]
        return " ".join([self.choice] * bool(self.choice) + said)


def arc(section, name, commands, ours, others=None, choice="", **rest):
    return Row(section, name, [f"arc {command}" for command in commands], ours, others or {}, choice, **rest)


def does(verdict, habit, *clients, asked=None):
    return {client: Other(verdict, habit, asked) for client in clients}


CHALLENGE = "Azure Arc: the challenge"
KEY = "Azure Arc: the key file"
ANSWER = "Azure Arc: the answer"
WHICH = "Which endpoint, which identity"
AGAIN = "Asking again: the endpoint fails twice, then answers"

# Habits that show in several rows.
ALWAYS_UNAVAILABLE = "calls every failure of a managed identity unavailable, and its chain goes on to whatever comes next"
WITHOUT_TOKEN = "calls any answer without `access_token` and `expires_in` unavailable, a refusal too"
ONLY_401 = "takes no first answer but a 401"
ONLY_401_SKIPS = "takes no first answer but a 401, and calls every other unavailable"
BASENAME = "looks in its own directory for the name between the last slash and the last dot, whatever stands around it"
AS_IT_STANDS = "takes what follows `=` for the path as it stands"
AS_IT_STANDS_SKIPS = AS_IT_STANDS + ", and calls the failure unavailable"
FOLLOWS = "opens the path and follows a link"
WAITS = "opens the path, and the open waits for a writer as long as the program lives"
RAW_KEY = "puts the file's content into a header as it is, and the transport refuses the newline"
NEEDS_RETRY_AFTER = "retries a 429 only when it is told how long to wait, and calls it unavailable otherwise"

NODE_SKIPS = does("skip", ALWAYS_UNAVAILABLE, NODE)
STOPS = "No token for anybody; where an endpoint is there and answers wrongly, a chain stops here."

ROWS = [
    arc(CHALLENGE, "as the real agent does", [], "ok"),
    arc(CHALLENGE, "401 with an empty body", ["body empty"], "ok"),
    arc(CHALLENGE, "401 with a plain-text body", ["body text"], "ok",
        does("skip", "parses the 401's body, though the header says all, and takes what is not JSON for a network failure",
             NODE)),
    arc(CHALLENGE, "401 with JSON and no `Content-Type`", ["body untyped"], "ok"),
    arc(CHALLENGE, "401 with `Retry-After: 1`", ["retry-after 1"], "ok",
        does("skip", "waits as it is told and asks the same again without the key, until its retries are used up", SYNC),
        "A challenge is answered, not waited for."),
    arc(CHALLENGE, "a token at once, without a challenge", ["direct"], "ok",
        does("skip", ONLY_401_SKIPS, SYNC) | does("fail", ONLY_401, GO),
        "A token that arrives without a challenge is checked like any other; refusing it would protect nobody."),
    arc(CHALLENGE, "realm in quotes", ["realm quoted"], "ok",
        does("fail", AS_IT_STANDS, AIO, GO) | does("skip", AS_IT_STANDS_SKIPS, NODE),
        "Quotes are what RFC 7235 has: one pair is taken off, and the path must then pass every check. Blocking "
        "azure-identity never sees them: it " + BASENAME + "."),
    arc(CHALLENGE, "`basic realm=` in lower case", ["realm lower-case"], "ok",
        does("fail", "looks for the text as the agent writes it", GO)
        | does("skip", "looks for the text as the agent writes it, and calls the failure unavailable", NODE),
        "A scheme is case-insensitive by RFC 7235."),
    arc(CHALLENGE, "the path without `Basic realm=`", ["realm bare"], "fail", NODE_SKIPS, STOPS),
    arc(CHALLENGE, "a second parameter after the path", ["realm extra-parameter"], "fail", NODE_SKIPS, STOPS),
    arc(CHALLENGE, "no `WWW-Authenticate`", ["realm absent"], "fail", NODE_SKIPS, STOPS),
    arc(CHALLENGE, "every key is refused with another challenge", ["rejects-key"], "fail",
        does("skip", WITHOUT_TOKEN, SYNC) | NODE_SKIPS, "One answer to one challenge. " + STOPS),
    arc(KEY, "realm in another directory, a file of that name in the right one", ["realm elsewhere"], "fail",
        does("ok", BASENAME, SYNC) | NODE_SKIPS,
        "A challenge that names another place is not the agent's."),
    arc(KEY, "realm in a directory inside the right one", ["realm subdirectory"], "fail", NODE_SKIPS,
        "The agent puts its keys directly into its directory. " + STOPS),
    arc(KEY, "realm that goes out of the directory and back (`..`)", ["realm roundabout"], "fail",
        does("ok", BASENAME, SYNC) | does("ok", "cleans the path before it compares", GO) | NODE_SKIPS,
        "What was sent is compared: the agent has no reason to write such a path."),
    arc(KEY, "newline after the key", ["key newline"], "ok", does("fail", RAW_KEY, SYNC, AIO, GO),
        "No key has white space at its ends: it is trimmed."),
    arc(KEY, "link to a file in the directory", ["key link-inside"], "fail", does("ok", FOLLOWS, *THEIRS),
        "Whoever can make a link there chooses which file is sent to the endpoint; the agent makes regular files."),
    arc(KEY, "link to a file outside", ["key link-outside"], "fail", does("ok", FOLLOWS, *THEIRS),
        "The same: a link there sends any readable file that is small enough."),
    arc(KEY, "a key of 4096 bytes", ["key size 4096"], "ok"),
    arc(KEY, "a key of 4097 bytes", ["key size 4097"], "fail", NODE_SKIPS, STOPS),
    arc(KEY, "a pipe nobody writes to", ["key fifo"], "fail", does("hang", WAITS, *THEIRS),
        "The file is opened without waiting, and what was opened is looked at.", patience=20),
    arc(KEY, "a directory", ["key directory"], "fail", NODE_SKIPS, STOPS),
    arc(KEY, "an empty file", ["key empty"], "fail",
        does("skip", "sends the empty key, and " + WITHOUT_TOKEN, SYNC) | NODE_SKIPS,
        "An empty key is not sent."),
    arc(KEY, "no file", ["key missing"], "fail", NODE_SKIPS, STOPS),
    arc(ANSWER, "times as numbers", ["numbers"], "ok"),
    arc(ANSWER, "both answers chunked", ["chunked"], "ok"),
    arc(ANSWER, "`Connection: close`", ["close"], "ok"),
    arc(ANSWER, "no `expires_in`", ["omit expires_in"], "ok", does("skip", WITHOUT_TOKEN, SYNC),
        "`expires_on` says the same."),
    arc(ANSWER, "no `expires_on`", ["omit expires_on"], "ok"),
    arc(ANSWER, "no `resource`", ["omit resource"], "ok",
        does("fail", "reads the member without looking whether it is there", AIO),
        "Nobody needs to be told what he asked for."),
    arc(ANSWER, "no `token_type`", ["omit token_type"], "ok"),
    arc(ANSWER, "no `access_token`", ["omit access_token"], "skip",
        does("fail", "calls it a failure", AIO) | does("empty", "hands the program an empty token and no error", GO),
        "What answers without a token is not an identity endpoint, so a chain goes on."),
    arc(WHICH, "the endpoint is named `localhost`", [], "ok", localhost=True),
    arc(WHICH, "no variables, only the agent's program file", [], "ok",
        does("skip", "does not look for the agent's program and asks IMDS, which is not there", AIO),
        variables=False, himds=True),
    arc(WHICH, "the same for the chain", [], "ok",
        does("fail", "probes IMDS before it looks for the agent", SYNC)
        | does("fail", "does not look for the agent's program and asks IMDS, which is not there", AIO),
        "The agent is found first.", variables=False, himds=True, credential="dac"),
    arc(WHICH, "nothing at all, for the chain", [], "fail", variables=False, credential="dac"),
    arc(WHICH, "Arc, user-assigned by client id, confirmed", [], "ok", client_id=OWN),
    arc(WHICH, "Arc, user-assigned, the agent does not confirm", ["ignores-selector"], "fail", NODE_SKIPS,
        "The token would be the system identity's. " + STOPS, client_id=OWN),
    arc(WHICH, "Arc, unknown client id", [], "fail", does("skip", WITHOUT_TOKEN, SYNC) | NODE_SKIPS, STOPS,
        client_id=UNKNOWN),
    arc(WHICH, "Arc, chain, `AZURE_CLIENT_ID` set, the agent does not confirm", ["ignores-selector"], "fail",
        credential="dac", environment={"AZURE_CLIENT_ID": OWN}),
    Row(WHICH, "IMDS at its address", [], "ok", endpoint="imds"),
    Row(WHICH, "IMDS at its address, for the chain", [], "ok", endpoint="imds", credential="dac"),
    Row(WHICH, "App Service", [], "ok", endpoint="app_service"),
    Row(WHICH, "Azure ML", [], "ok", endpoint="azure_ml"),
    Row(WHICH, "Cloud Shell", [], "ok", endpoint="cloud_shell"),
    Row(WHICH, "Service Fabric", [], "ok",
        does("skip", "has no use for the thumbprint, and validates the cluster's self-signed certificate against the "
             "system's roots", NODE),
        endpoint="service_fabric"),
    Row(WHICH, "Service Fabric, a server of another thumbprint", [], "fail",
        does("ok", "sends its secret header to any server", AIO) | NODE_SKIPS,
        "The secret is for the server with the thumbprint.",
        endpoint="service_fabric", environment={"IDENTITY_SERVER_THUMBPRINT": "00" * 20}),
    Row(AGAIN, "IMDS, 404", ["imds fail 2 404"], "ok", endpoint="imds", asked=3),
    Row(AGAIN, "IMDS, 410", ["imds fail 2 410"], "ok", {},
        "Waited for longest: an update that answers 410 may take 70 seconds.", endpoint="imds", asked=3),
    Row(AGAIN, "IMDS, 429", ["imds fail 2 429"], "ok", does("skip", NEEDS_RETRY_AFTER, NODE, asked=1),
        "The documented advice for IMDS is to retry it.", endpoint="imds", asked=3),
    Row(AGAIN, "IMDS, 500", ["imds fail 2 500"], "ok", endpoint="imds", asked=3),
    Row(AGAIN, "IMDS, 503", ["imds fail 2 503"], "ok", endpoint="imds", asked=3),
    Row(AGAIN, "IMDS, 429 with `Retry-After: 1`", ["imds fail 2 429 1"], "ok", endpoint="imds", asked=3),
    Row(AGAIN, "IMDS, 400: no identity is assigned", ["imds unassigned 2"], "skip", {},
        "The machine has no identity of its own: unavailable to all.", endpoint="imds", asked=1),
    Row(AGAIN, "IMDS, 400 for another reason", ["imds fail 2 400"], "fail",
        does("skip", "takes every 400 for the machine's own identity as none being assigned", SYNC, AIO, GO, NODE, asked=1),
        "An endpoint that is busy or does not know the resource has an identity all the same: going on would change who "
        "the program is.", endpoint="imds", asked=1),
    Row(AGAIN, "App Service, 404", ["app_service fail 2 404"], "fail",
        does("skip", WITHOUT_TOKEN, SYNC, asked=1) | does("ok", "retries a 404 of every endpoint", NODE, asked=3),
        "Elsewhere than at IMDS and Arc a 404 does not pass by waiting.", endpoint="app_service", asked=1),
    Row(AGAIN, "App Service, 429", ["app_service fail 2 429"], "ok", does("skip", NEEDS_RETRY_AFTER, NODE, asked=1),
        endpoint="app_service", asked=3),
    Row(AGAIN, "App Service, 500", ["app_service fail 2 500"], "ok", endpoint="app_service", asked=3),
    arc(AGAIN, "Arc, 404", ["fail 2 404"], "ok",
        does("skip", ONLY_401_SKIPS, SYNC, asked=1) | does("fail", "does not retry a 404 of the agent", AIO, GO, asked=1),
        "The documented advice for IMDS, to retry a 404, is followed for the agent too.", asked=4),
    arc(AGAIN, "Arc, 429", ["fail 2 429"], "ok", does("skip", NEEDS_RETRY_AFTER, NODE, asked=1), asked=4),
    arc(AGAIN, "Arc, 503", ["fail 2 503"], "ok", asked=4),
]
