"""Runs one case in this process and exits 0 when it holds, 1 when it does not, 3 when this client does not offer it.

    suite.py DIALECT CASE
    suite.py version

One process a case: the clients keep tokens and answers for the life of a process, and a case must not pass on what
another one left there. The outcome goes to standard output, for the shell to record.
"""

import sys
from pathlib import Path

import runtime

# What is expected of a token and of the vault does not depend on the client's language.
sys.path.append(str(Path(__file__).resolve().parents[1] / "python"))

from expected import Dev, Mismatch  # noqa: E402 (found only by the path above)

NOT_OFFERED = 3


def main(arguments):
    runtime.load()
    if arguments == ["version"]:
        print(runtime.version("Azure.Identity"))
        return 0
    # These import the .NET namespaces, which are there once the runtime is.
    import applications
    import machines

    dialect, case = arguments
    cases = applications.CASES if dialect == "no-agent" else machines.CASES
    try:
        cases[case](Dev(), dialect)
    except machines.NotOffered as reason:
        print(" ".join(str(reason).split()))
        return NOT_OFFERED
    except Exception as error:  # every way a case can end is its result
        kind = "" if isinstance(error, Mismatch) else type(error).__name__ + ": "
        print(" ".join(f"{kind}{error}".split()))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
