"""Runs one case in this process and exits 0 when it holds, 1 when it does not.

    suite.py FLAVOUR SETTING CASE
    suite.py version

One process a case: the clients keep tokens, challenges and throttling answers
for the life of a process, and a case must not pass on what another one left
there. The outcome goes to standard output's last line, for the shell to record.
"""

import asyncio
import sys
from importlib.metadata import version

from expected import Dev, Mismatch


def main(arguments):
    if arguments == ["version"]:
        print(version("azure-identity"))
        return 0
    flavour, setting, case = arguments
    dev = Dev()
    try:
        if flavour == "aio":
            import aio_cases

            asyncio.run(aio_cases.CASES[case](dev, setting))
        else:
            import sync_cases

            sync_cases.CASES[case](dev, setting)
    except Exception as error:  # every way a case can end is its result
        kind = "" if isinstance(error, Mismatch) else type(error).__name__ + ": "
        print(" ".join(f"{kind}{error}".split()))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
