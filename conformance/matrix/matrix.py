"""Puts each row's server before one client (`observe CLIENT`), and holds what the clients did against what was predicted
(`check`, or `write` for the table).

Rows, predictions and their reasons are in rows.py. Runs inside the namespaces that ./run makes.
"""

import json
import os
import pathlib
import re
import subprocess
import sys

from rows import CLIENTS, ROWS

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TARGET = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")
KEYS = "/var/opt/azcmagent/tokens"
HIMDS = pathlib.Path("/opt/azcmagent/bin/himds")
IMDS = "169.254.169.254"
COMMANDS = {
    "denizen": [str(TARGET / "debug/examples/ask")],
    "python-sync": [str(HERE.parent / "python/.venv/bin/python"), str(HERE / "ask.py"), "sync"],
    "python-aio": [str(HERE.parent / "python/.venv/bin/python"), str(HERE / "ask.py"), "aio"],
    "node": ["node", str(HERE / "ask.mjs")],
    "go": [str(HERE.parent / "go/bin/ask")],
}


class Kit:
    """The test kit's endpoints, one process."""

    def __init__(self):
        self.imds_address(True)
        self.process = subprocess.Popen(
            [str(TARGET / "debug/examples/endpoints"), KEYS, "127.0.0.1:40342", f"{IMDS}:80"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        self.variables = json.loads(self.process.stdout.readline())

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def obey(self, line):
        said = self.tell(line)
        if said != "ok":
            raise SystemExit(f"matrix: the kit says '{said}' to '{line}'")

    def requests(self, endpoint):
        return json.loads(self.tell(f"{endpoint} requests"))

    def imds_address(self, there):
        """Whether the well-known address exists: the listener stays, the way to it comes and goes."""
        verb = "replace" if there else "del"
        subprocess.run(["ip", "address", verb, f"{IMDS}/32", "dev", "lo"], check=there, stderr=subprocess.DEVNULL)


def environment(kit, row):
    steering = re.compile(r"AZURE_|IDENTITY_|MSI_|IMDS_|DEFAULT_IDENTITY|ALL_PROXY|HTTPS?_PROXY|NO_PROXY", re.I)
    env = {name: value for name, value in os.environ.items() if not steering.match(name)}
    # The chain's developer links would find this machine's tools; the rows are about what stands before them.
    env["AZURE_TOKEN_CREDENTIALS"] = "prod"
    if row.variables:
        for name, value in kit.variables[row.endpoint].items():
            env[name] = value.replace("127.0.0.1", "localhost") if row.localhost else value
    if row.endpoint == "imds":
        # The clients that do not know this variable know the address.
        env.pop("AZURE_POD_IDENTITY_AUTHORITY_HOST", None)
    env.update(row.environment)
    return env


def observe(client):
    kit = Kit()
    seen = {}
    for row in ROWS:
        kit.obey(f"{row.endpoint} honest")
        for command in row.commands:
            kit.obey(command)
        kit.imds_address(row.endpoint == "imds")
        HIMDS.unlink(missing_ok=True)
        if row.himds:
            HIMDS.touch(mode=0o755)
        kit.requests(row.endpoint)
        arguments = [row.credential] + ([row.client_id] if row.client_id else [])
        try:
            run = subprocess.run(
                COMMANDS[client] + arguments,
                env=environment(kit, row), capture_output=True, text=True, timeout=row.patience,
            )
            crash = {"ok": False, "class": "crash", "message": run.stderr[-300:]}
            answer = json.loads(run.stdout) if run.stdout else crash
        except subprocess.TimeoutExpired:
            message = f"nothing within {row.patience} s"
            answer = {"ok": False, "class": "hang", "message": message, "ms": row.patience * 1000}
        if not answer["ok"]:
            answer.setdefault("class", "empty")
        answer["requests"] = len(kit.requests(row.endpoint))
        seen[row.name] = answer
    kit.process.stdin.close()
    kit.process.wait(10)
    json.dump(seen, sys.stdout)


def load(directory):
    return {client: json.loads((pathlib.Path(directory) / f"{client}.json").read_text()) for client in CLIENTS}


def verdict(row, answer):
    if answer["ok"]:
        return "ok"
    # What a whole chain's error is decides nothing: there is no next link.
    words = {"failed": "fail", "unavailable": "fail" if row.credential == "dac" else "skip"}
    return words.get(answer["class"], answer["class"])


def cell(row, answer):
    text = verdict(row, answer)
    if row.asked is not None:
        text += f", {answer['requests']} requests, {answer['ms'] / 1000:.1f} s"
    return text


def show(directory):
    seen = load(directory)
    for row in ROWS:
        print(f"{row.name}: " + " ".join(verdict(row, seen[client][row.name]) for client in CLIENTS))
        for client in CLIENTS:
            answer = seen[client][row.name]
            message = " ".join(answer.get("message", "").split())[:260]
            counts = f"{answer['requests']} requests, {answer.get('ms')} ms"
            print(f"    {client}: {counts}", answer.get("class", ""), message)


def page(directory):
    """The page, or an end with every cell that was predicted otherwise."""
    seen = load(directory)
    wrong, lines = [], []
    for section in dict.fromkeys(row.section for row in ROWS):
        rows = [row for row in ROWS if row.section == section]
        lines += [f"## {section}", "", "| the server | " + " | ".join(title(seen, c) for c in CLIENTS) + " | |"]
        lines += ["|---" * (len(CLIENTS) + 2) + "|"]
        for row in rows:
            for client in CLIENTS:
                answer = seen[client][row.name]
                wrong += contradicted(row, client, verdict(row, answer), answer)
            cells = " | ".join(cell(row, seen[client][row.name]) for client in CLIENTS)
            lines.append(f"| {row.name} | {cells} | {row.why()} |")
        lines.append("")
    if wrong:
        raise SystemExit("matrix: not as it was predicted in rows.py:\n  " + "\n  ".join(wrong))
    return PREFACE + "\n" + "\n".join(lines).rstrip() + "\n"


def contradicted(row, client, word, answer):
    """What the run says against the prediction for one cell."""
    expected, asked = row.predicted(client)
    said = " ".join(answer.get("message", "").split())[:200]
    if word != expected:
        return [f"{row.name}: {CLIENTS[client]} is {word}, predicted was {expected}: {said}"]
    if asked is not None and answer["requests"] != asked:
        return [f"{row.name}: {CLIENTS[client]} made {answer['requests']} requests, predicted were {asked}"]
    return []


def write(directory, path):
    pathlib.Path(path).write_text(page(directory))


def check(directory, path):
    """As written, but for the times: they are of one run."""
    kept = pathlib.Path(path).read_text()
    timeless = [re.sub(r", [0-9.]+ s ", ", s ", text) for text in (page(directory), kept)]
    if timeless[0] != timeless[1]:
        raise SystemExit(f"{path} is not what this run gives; write it with: ./test matrix --write")
    cells = len(ROWS) * len(CLIENTS)
    print(f"matrix: {len(ROWS)} servers, {len(CLIENTS)} clients, {cells} cells as predicted")


def title(seen, client):
    version = next(iter(seen[client].values()))["version"]
    return f"{CLIENTS[client]} {version}"


PREFACE = """# One server, five clients

What this library's credentials do beside those of the other languages when the endpoint is not at its best. Written by
`./test matrix --write`, which puts the test kit's endpoints before the unmodified clients. Every cell was predicted,
with its reason, in `conformance/matrix/rows.py`, and a run that contradicts one fails. Not edited by hand.

`ok` is a token. `fail` is an error at which a chain stops, `skip` one after which a chain goes on to its next link.
`hang` is neither within 20 seconds, `empty` an answer without an error and without a token. The chain
(`DefaultAzureCredential`) runs with `AZURE_TOKEN_CREDENTIALS=prod`, and what it cannot do is `fail`; all else is
`ManagedIdentityCredential`. Times are of one run on a busy machine: read them for who waits, not for milliseconds.
"""

if __name__ == "__main__":
    {"observe": observe, "show": show, "write": write, "check": check}[sys.argv[1]](*sys.argv[2:])
