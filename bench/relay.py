"""`relay`: one sender process against a sink that takes mail as fast as it comes: no Postfix, no log, no receivers.

What the sender can do when it hands mail to a relay that keeps up: claims, rendering, signatures, SMTP, and the record
of it. Without DKIM, with Ed25519, with RSA-2048. Sink, PostgreSQL and fold share the machine's cores, so the rate is
also given as what one core would do: 1 / (CPU seconds of the sender for a mail). Writes var/bench/relay.json.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

sys.path.insert(0, str(Path(__file__).parent))

import psycopg
import send
import uvloop
from common import save
from house import house

from thurn.campaigns import service
from thurn.db.connect import connect, conninfo
from thurn.delivery import pacing, sender
from thurn.settings import Settings, load_settings

KEYS: dict[str, list[str]] = {"none": [], "ed25519": ["ed25519-sha256"], "rsa": ["rsa-sha256"]}


EHLO = b"250-sink\r\n250-PIPELINING\r\n250 CHUNKING\r\n"
DONE = "SELECT coalesce(sum(n), 0)::int FROM campaign_tally WHERE measure = 'handed_over'"


class Sink(asyncio.Protocol):
    """Says yes to everything. Reads past the bytes of BDAT without looking at them."""

    taken = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet as `out` does, with the number of the process."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop has a class of its own
        self._buffer, self._skip = b"", 0
        self._transport.write(b"220 sink ESMTP %d\r\n" % os.getpid())

    def data_received(self, data: bytes) -> None:
        """Answer each command."""
        if self._skip >= len(data):
            self._skip -= len(data)
            return
        buffer = self._buffer + data[self._skip :]
        self._skip, at, answers = 0, 0, []
        while (end := buffer.find(b"\n", at)) >= 0:
            verb = buffer[at : at + 4]
            if verb == b"BDAT":
                size = int(buffer[at + 5 : end].split()[0])
                at = end + 1 + size
                Sink.taken += 1
                answers.append(b"250 2.0.0 Ok: queued as S\r\n")
                if at > len(buffer):
                    self._skip, at = at - len(buffer), len(buffer)
            else:
                at = end + 1
                answers.append(
                    b"250-sink\r\n250-PIPELINING\r\n250 CHUNKING\r\n" if verb == b"EHLO" else b"250 2.0.0 Ok\r\n"
                )
        self._buffer = buffer[at:]
        self._transport.write(b"".join(answers))


async def _sink(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", port)
    await server.serve_forever()


def _sender(state: Path, port: int) -> None:
    """A sender that takes the sink for its `out`, and lets it have as much at once as it likes: nobody answers."""
    pacing.LEAST = pacing.MOST = 10**9
    settings = load_settings(state)
    settings.port["out"] = port
    sender.main(settings)


async def prepare(settings: Settings, recipients: int, keys: list[str]) -> None:
    """A campaign with the mail of `send`, signed with such keys, launched and frozen."""
    async with await connect(settings, "owner", autocommit=True) as db:
        await db.execute(
            "TRUNCATE delivery, outcome, campaign_tally, lane_tally, event, contact, campaign, domain CASCADE"
        )
        await db.execute("TRUNCATE list, provider_domain, template RESTART IDENTITY CASCADE")
    campaign = await send.prepare(settings, recipients)
    async with await connect(settings, "system", autocommit=True) as db:
        await db.execute("DELETE FROM dkim_key WHERE algorithm <> ALL(%s)", [keys])
        async with db.transaction():
            await service.launch(db, 1, campaign, settings)
        state = None
        while state != {"state": "sending"}:
            await asyncio.sleep(0.1)
            state = await (await db.execute("SELECT state FROM campaign WHERE id = %s", [campaign])).fetchone()


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak(pid: int) -> int:
    """Largest resident set in KiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))


def once(settings: Settings, recipients: int, keys: list[str], port: int) -> dict[str, int]:
    """Send everything; timed from the first hand-overs that were folded to the last."""
    asyncio.run(prepare(settings, recipients, keys))
    process = subprocess.Popen([sys.executable, __file__, "--sender", str(settings.state), "--port", str(port)])
    try:
        with psycopg.connect(conninfo(settings, "system"), autocommit=True) as db:
            first, began, cpu, done = 0, 0.0, 0.0, 0
            while done < recipients:
                done = int((db.execute(DONE).fetchone() or (0,))[0])
                if done and not first:
                    first, began, cpu = done, time.monotonic(), _cpu(process.pid)
                time.sleep(0.05)
        seconds, spent = time.monotonic() - began, _cpu(process.pid) - cpu
        peak = _peak(process.pid)
    finally:
        process.terminate()
        process.wait(30)
    mails = recipients - first
    return {
        "mails_a_second": round(mails / seconds), "sender_cpu_us": round(spent / mails * 1e6),
        "one_core_a_second": round(mails / spent), "sender_kib": peak,
    }  # fmt: skip


def run(recipients: int, keys: list[str]) -> dict[str, Any]:
    """Each kind of key, and the peer."""
    with house(["db", "worker"]) as settings:
        port = settings.port["out"]
        sink = subprocess.Popen([sys.executable, __file__, "--sink", "--port", str(port)])
        try:
            found = {name: once(settings, recipients, KEYS[name], port) for name in keys}
        finally:
            sink.kill()
    best = found[keys[0]]
    return {
        "what": f"{recipients:,} mails to a sink without Postfix, DKIM: {keys[0]}; load {os.getloadavg()[0]:.1f}",
        "unit": "mails a second", "ours": best["mails_a_second"], "peer": 5000,
        "ratio": round(best["mails_a_second"] / 5000, 2), "by_key": found, "load": os.getloadavg(),
    }  # fmt: skip


def main() -> None:
    """Run in a temporary installation, or be one of its processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipients", type=int, default=50_000)
    parser.add_argument("--keys", nargs="+", choices=KEYS, default=list(KEYS))
    parser.add_argument("--sink", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--sender", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.sink:
        uvloop.run(_sink(arguments.port))
    elif arguments.sender:
        _sender(arguments.sender, arguments.port)
    else:
        save("relay", run(arguments.recipients, arguments.keys))
        print(json.dumps(json.loads(Path("var/bench/relay.json").read_text()), indent=1))


if __name__ == "__main__":
    main()
