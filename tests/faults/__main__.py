"""`make faults`: a campaign a case, faults at seeded moments in the middle of it, and the receivers' count.

The last line is JSON. Ends with 1 if anybody was skipped or got a mail twice.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from itertools import groupby
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from cases import CASES, Count, run, summary
from installation import installation
from nodes import two_machines


def main() -> int:
    """Run the cases and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", nargs="*", choices=[*CASES, []], help="none: all")
    parser.add_argument("--recipients", type=int, default=int(os.environ.get("FAULTS_RECIPIENTS", "10000")))
    parser.add_argument("--seed", type=int, default=int(os.environ.get("FAULTS_SEED", "0")) or time.time_ns() % 10**6)
    arguments = parser.parse_args()
    names = [name for name in CASES if name in (arguments.case or CASES)]
    print(f"seed {arguments.seed} (FAULTS_SEED={arguments.seed} repeats these moments)", flush=True)
    counts: list[Count] = []
    broken: dict[str, str] = {}
    for kind, group in groupby(names, key=lambda name: CASES[name].kind):
        with two_machines() if kind == "two machines" else installation(kind) as settings:
            for name in group:
                try:
                    count = asyncio.run(run(settings, name, arguments.recipients, arguments.seed))
                except AssertionError as error:  # a campaign that does not come to its end
                    broken[name] = str(error)
                    print(f"{name}: {error}", flush=True)
                    break
                counts.append(count)
                print(count, flush=True)
    result = summary(counts, arguments.seed)
    if broken:
        result["broken"] = broken
    print(json.dumps(result))
    return int(bool(broken) or not all(count.good for count in counts))


if __name__ == "__main__":
    sys.exit(main())
