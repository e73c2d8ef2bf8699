"""`out`: what our settings of Postfix gain over its own defaults, under the same load, and each of them alone.

`smtp-source` hands in mails as large as ours; timed until the queue is empty again. Each variant is the tuned instance
with one setting put back to Postfix's default; the last has all of them put back, which is the peer. The variants take
turns, so that a busier minute of the machine hits all of them. Writes var/bench/out.json.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from common import save
from house import house

from thurn.delivery.sender import SESSIONS
from thurn.settings import Settings

DEFAULTS = {
    "max_use": "100",
    "in_flow_delay": "1s",
    "smtpd_peername_lookup": "yes",
    "smtpd_client_connection_count_limit": "50",
    "default_process_limit": "100",
}


def _set(settings: Settings, values: dict[str, str]) -> None:
    etc = settings.state / "out" / "etc"
    subprocess.run(["postconf", "-c", etc, "-e", *(f"{k}={v}" for k, v in values.items())], check=True)
    subprocess.run(["postfix", "-c", etc, "reload"], check=True, capture_output=True, cwd="/")
    time.sleep(2)  # old processes finish


def once(settings: Settings, mails: int, size: int) -> float:
    """Seconds until the queue is empty again."""
    etc = settings.state / "out" / "etc"
    began = time.monotonic()
    subprocess.run(
        ["smtp-source", "-N", "-d", "-s", str(SESSIONS), "-m", str(mails), "-l", str(size),
         "-f", "b.e1.other.peer@bounce.bench.example", "-t", "reader@sink.example",
         f"127.0.0.1:{settings.port['out']}"],
        check=True,
    )  # fmt: skip
    while subprocess.run(["postqueue", "-c", etc, "-j"], capture_output=True, check=True).stdout.strip():
        time.sleep(0.1)
    return time.monotonic() - began


def run(mails: int, size: int, rounds: int) -> dict[str, Any]:
    """Every variant in turn, the best of its rounds."""
    best: dict[str, float] = {}
    with house(["db", "out"]) as settings:
        sink = subprocess.Popen(
            ["smtp-sink", "-u", "nobody", "-c", f"127.0.0.1:{settings.port['sim_smtp']}", "1000"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            command = ["postconf", "-c", settings.state / "out" / "etc", "-h", *DEFAULTS]
            found = subprocess.run(command, check=True, capture_output=True, text=True)
            tuned = dict(zip(DEFAULTS, found.stdout.splitlines(), strict=True))
            alone = {f"without {name}": tuned | {name: value} for name, value in DEFAULTS.items()}
            variants = {"tuned": tuned, **alone, "defaults": DEFAULTS}
            for _ in range(rounds):
                for name, values in variants.items():
                    _set(settings, values)
                    best[name] = min(best.get(name, float("inf")), once(settings, mails, size))
        finally:
            sink.kill()
    rate = {name: round(mails / seconds, 1) for name, seconds in best.items()}
    return {
        "what": f"{mails:,} mails of {size:,} bytes through `out`, against Postfix's defaults;"
                f" load {os.getloadavg()[0]:.1f}",
        "unit": "mails a second", "ours": rate["tuned"], "peer": rate["defaults"],
        "ratio": round(rate["tuned"] / rate["defaults"], 2), "rates": rate,
        "gain": {name: round(rate["tuned"] / rate[f"without {name}"], 2) for name in DEFAULTS},
        "load": os.getloadavg(),
    }  # fmt: skip


def main() -> None:
    """Run in a temporary installation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mails", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=12_000)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    result = run(arguments.mails, arguments.size, arguments.rounds)
    save("out", result)
    for name, gain in result["gain"].items():
        print(f"  {name:40} {gain}")


if __name__ == "__main__":
    main()
