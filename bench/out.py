"""`out`: what our settings of Postfix gain over its own defaults, under the same load, and each of them alone.

The load is ours: mails of a campaign with their own envelopes and all our header fields, over as many pipelined
sessions as the sender has. Timed until the queue is empty again; the CPU time is Postfix's alone and steadier than
the clock. Each variant is the tuned instance with one setting put back to Postfix's default; the last has all of them
put back: the peer. The variants take turns, so that a busier minute of the machine hits all of them. Writes
var/bench/out.json.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import send
import uvloop
from common import cpu_seconds, save
from house import house

from thurn.content.program import compile_mail
from thurn.delivery.compose import Composer, Letter, Sender
from thurn.delivery.sender import DEPTH, SESSIONS
from thurn.mail.smtp import Session
from thurn.mail.tokens import TrackingTokens, VerpTokens
from thurn.settings import Settings

DEFAULTS = {
    "local_header_rewrite_clients": "permit_inet_interfaces",
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


def letters(mails: int) -> list[Letter]:
    """Mails as the sender makes them, without signatures, which are not Postfix's work."""
    composer = Composer(
        workspace=1, campaign=1, sender=Sender("Bench", "post@bench.example", "", "bounce.bench.example"),
        program=compile_mail("html", "News for {{ contact.first_name }}", send.mail()), signers=[],
        base_url="https://mail.bench.example", tracking=TrackingTokens(b"t" * 32), verp=VerpTokens(b"v" * 32),
    )  # fmt: skip
    fields = {"first_name": "Ada", "last_name": "L", "city": "Bamberg", "number": "1"}
    return [composer.compose(n, f"reader{n}@sink.example", "other", fields) for n in range(mails)]


async def hand_in(port: int, mails: list[Letter]) -> None:
    """Over as many connections, and as many mails at a time, as the sender does."""
    left = iter(mails)

    async def work() -> None:
        session = await Session.connect("127.0.0.1", port, "mail.bench.example")
        for letter in left:
            session.send(letter.sender, letter.recipient, letter.data)
            while session.depth >= DEPTH:
                await session.room()
        while session.depth:
            await session.room()
        await session.quit()

    await asyncio.gather(*(work() for _ in range(SESSIONS)))


def once(settings: Settings, mails: list[Letter]) -> tuple[float, float]:
    """Seconds until the queue is empty again, and seconds of CPU that Postfix took."""
    queue = settings.state / "out" / "queue"
    began, cpu = time.monotonic(), cpu_seconds(settings.state)["out"]
    uvloop.run(hand_in(settings.port["out"], mails))
    while any(any((queue / folder).iterdir()) for folder in ("incoming", "active")):
        time.sleep(0.02)
    return time.monotonic() - began, cpu_seconds(settings.state)["out"] - cpu


def run(mails: int, rounds: int) -> dict[str, Any]:
    """Every variant in turn, the best of its rounds."""
    seconds: dict[str, list[float]] = {}
    cpu: dict[str, list[float]] = {}
    with house(["db", "out"]) as settings:
        sink = subprocess.Popen(
            ["smtp-sink", "-u", "nobody", "-c", f"127.0.0.1:{settings.port['sim_smtp']}", "1000"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            load = letters(mails)
            command = ["postconf", "-c", settings.state / "out" / "etc", "-h", *DEFAULTS]
            found = subprocess.run(command, check=True, capture_output=True, text=True)
            tuned = dict(zip(DEFAULTS, found.stdout.split("\n"), strict=False))
            alone = {f"without {name}": tuned | {name: value} for name, value in DEFAULTS.items()}
            variants = {"tuned": tuned, **alone, "defaults": DEFAULTS}
            once(settings, load[: mails // 4])
            for _ in range(rounds):
                for name, values in variants.items():
                    _set(settings, values)
                    took, spent = once(settings, load)
                    seconds.setdefault(name, []).append(took)
                    cpu.setdefault(name, []).append(spent)
        finally:
            sink.kill()
    rate = {name: round(mails / min(each), 1) for name, each in seconds.items()}
    cost = {name: round(min(each) / mails * 1000, 3) for name, each in cpu.items()}
    return {
        "what": f"{mails:,} mails of {len(load[0].data):,} bytes through `out`, against Postfix's defaults;"
                f" load {os.getloadavg()[0]:.1f}",
        "unit": "mails a second", "ours": rate["tuned"], "peer": rate["defaults"],
        "ratio": round(rate["tuned"] / rate["defaults"], 2), "rates": rate, "cpu_ms_per_mail": cost,
        "gain": {name: round(rate["tuned"] / rate[f"without {name}"], 2) for name in DEFAULTS},
        "gain_cpu": {name: round(cost[f"without {name}"] / cost["tuned"], 2) for name in DEFAULTS},
        "load": os.getloadavg(),
    }  # fmt: skip


def main() -> None:
    """Run in a temporary installation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mails", type=int, default=4_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    result = run(arguments.mails, arguments.rounds)
    save("out", result)
    for name, gain in result["gain"].items():
        print(f"  {name:40} {gain:5} of the rate, {result['gain_cpu'][name]:5} of the CPU")


if __name__ == "__main__":
    main()
