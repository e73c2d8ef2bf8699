"""`send`: a campaign to 20,000 people, everything included, against `smtp-source -N -d` into the same `out` instance.

Ours is timed from the launch (snapshot, claim, render, two DKIM signatures, hand-over, ledger) until the log has been
read back and every delivery stands as delivered. The peer is timed until the queue is empty again. The remote side of
both is Postfix's smtp-sink. Then the same without the signatures, which the peer does not make either. Writes
var/bench/send.json.
"""

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from common import cpu_seconds, difference, resident, save

from thurn.campaigns import service
from thurn.db.connect import Connection, connect
from thurn.delivery.out_queue import queued_deliveries
from thurn.delivery.sender import SESSIONS
from thurn.mail.tokens import VerpTokens
from thurn.mailhost.service import add_domain
from thurn.secrets import Secrets
from thurn.settings import Settings
from thurn.stack.control import down, start_stack

ROLES = ["db", "out", "feedback", "worker", "sender"]
PARAGRAPH = "<p>The bakers of this town get up at two so that there is bread at six, whatever the weather does. </p>\n"
HTML = (
    "<html><head><style>h1 { color: #222222; }</style></head><body>"
    "<h1>Good morning {{ contact.first_name }} {{ contact.last_name }}</h1>"
    '<p><a href="https://shop.example/a">One</a> <a href="https://shop.example/b">Two</a>'
    ' <a href="https://shop.example/c">Three</a></p>{filler}'
    '<p>{{ contact.city }}, {{ contact.number }}. <a href="{{ unsubscribe_url }}">Unsubscribe</a></p></body></html>'
)


def mail() -> str:
    """About 5 KB of HTML as the author writes it, with four personal fields and three links."""
    return HTML.replace("{filler}", PARAGRAPH * ((5000 - len(HTML)) // len(PARAGRAPH)))


async def prepare(settings: Settings, recipients: int) -> int:
    """A domain, a list of `recipients` contacts, and a campaign ready to be launched; returns its id."""
    async with await connect(settings, "system", autocommit=True) as db:
        async with db.transaction():
            await add_domain(db, 1, name="bench.example", settings=settings)
        await db.execute("UPDATE domain SET verified_at = now()")
        await db.execute("INSERT INTO provider_domain (domain, provider) VALUES ('sink.example', 'other')")
        await db.execute(
            """WITH l AS (INSERT INTO list (workspace_id, name) VALUES (1, 'All') RETURNING id),
                    c AS (INSERT INTO contact (workspace_id, email, fields)
                          SELECT 1, 'reader' || i || '@sink.example',
                                 jsonb_build_object('first_name', 'Ada', 'last_name', 'L' || i,
                                                    'city', 'Bamberg', 'number', i::text)
                          FROM generate_series(1, %s) i RETURNING id)
               INSERT INTO list_member (list_id, contact_id, workspace_id) SELECT l.id, c.id, 1 FROM l, c""",
            [recipients],
        )
        await db.execute("ANALYZE")
        template = await (
            await db.execute(
                "INSERT INTO template (workspace_id, name, kind, subject, source)"
                " VALUES (1, 'Bench', 'html', 'News for {{ contact.first_name }}', %s) RETURNING id",
                [mail()],
            )
        ).fetchone()
        async with db.transaction():
            return await service.create(
                db, 1, name="Bench", from_name="Bench", from_address="post@bench.example",
                template_id=(template or {})["id"], list_ids=[1],
            )  # fmt: skip


async def ours(settings: Settings, campaign: int, recipients: int) -> tuple[float, dict[str, int]]:
    """Launch and wait for the last outcome; returns seconds and the largest resident sets seen, in KiB."""
    async with await connect(settings, "system", autocommit=True) as db:
        began = time.monotonic()
        async with db.transaction():
            await service.launch(db, 1, campaign, settings)
        peak: dict[str, int] = {}
        while await delivered(db, campaign) < recipients:
            for role, size in resident(settings.state).items():
                peak[role] = max(peak.get(role, 0), size)
            await asyncio.sleep(0.25)
        return time.monotonic() - began, peak


async def delivered(db: Connection, campaign: int) -> int:
    """How many stand as delivered."""
    row = await (
        await db.execute(
            "SELECT coalesce(sum(n), 0)::int AS n FROM campaign_tally WHERE campaign_id = %s AND measure = 'delivered'",
            [campaign],
        )
    ).fetchone()
    return int((row or {"n": 0})["n"])


def peer(settings: Settings, messages: int, size: int) -> tuple[float, float]:
    """smtp-source with as many sessions and as large mails; seconds until done, and until the queue was empty."""
    began = time.monotonic()
    subprocess.run(
        ["smtp-source", "-N", "-d", "-s", str(SESSIONS), "-m", str(messages), "-l", str(size),
         "-f", "b.e1.other.peer@bounce.bench.example", "-t", "reader@sink.example",
         f"127.0.0.1:{settings.port['out']}"],
        check=True,
    )  # fmt: skip
    accepted = time.monotonic() - began
    while subprocess.run(
        ["postqueue", "-c", str(settings.state / "out" / "etc"), "-j"], capture_output=True, check=True
    ).stdout.strip():
        time.sleep(0.1)
    return accepted, time.monotonic() - began


def mean_size(settings: Settings) -> int:
    """Mean size of our mails, from the queue manager's log."""
    sizes = [
        int(line.partition(b"size=")[2].partition(b",")[0])
        for line in (settings.state / "log" / "out.mail.log").read_bytes().splitlines()
        if b"from=<b.e1.other." in line and b"size=" in line
    ]
    return sum(sizes) // max(1, len(sizes))


async def unsigned(settings: Settings) -> None:
    """Take the domain's DKIM keys away."""
    async with await connect(settings, "system", autocommit=True) as db:
        await db.execute("DELETE FROM dkim_key")


def run(recipients: int, state: Path, *, signed: bool = True) -> dict[str, Any]:
    """One round in a state directory of its own."""
    (state / "thurn.toml").write_text('hostname = "mail.bench.example"\nsimulate = true\n')
    settings = start_stack(state, ROLES)
    sink = subprocess.Popen(
        ["smtp-sink", "-u", "nobody", "-c", f"127.0.0.1:{settings.port['sim_smtp']}", "1000"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        campaign = asyncio.run(prepare(settings, recipients))
        if not signed:
            asyncio.run(unsigned(settings))
        before = cpu_seconds(state, {"smtp-sink": sink.pid})
        seconds, peak = asyncio.run(ours(settings, campaign, recipients))
        cpu = difference(cpu_seconds(state, {"smtp-sink": sink.pid}), before)
        size = mean_size(settings)
        before = cpu_seconds(state, {"smtp-sink": sink.pid})
        accepted, drained = peer(settings, recipients, size)
        peer_cpu = difference(cpu_seconds(state, {"smtp-sink": sink.pid}), before)
        held = asyncio.run(queued_deliveries(state / "out" / "queue", VerpTokens(Secrets(state).derive("verp"))))
        assert not held
    finally:
        sink.terminate()
    keys = "RSA-2048 and Ed25519" if signed else "not signed"
    return {
        "what": f"{recipients} recipients, {size} bytes a mail, {keys}, {SESSIONS} sessions",
        "unit": "mails a second",
        "ours": round(recipients / seconds, 1),
        "peer": round(recipients / drained, 1),
        "ratio": round(drained / seconds, 3),
        "peer_accepted": round(recipients / accepted, 1),
        "cpu_seconds": cpu,
        "cpu_ms_per_mail": {group: round(value / recipients * 1000, 3) for group, value in cpu.items()},
        "peer_cpu_seconds": peer_cpu,
        "resident_kib_peak": peak,
    }


def round_of(recipients: int, *, signed: bool) -> dict[str, Any]:
    """`run` in a temporary installation."""
    state = Path(tempfile.mkdtemp(prefix="thurn-bench-", dir="/tmp"))
    state.chmod(0o755)
    try:
        return run(recipients, state, signed=signed)
    finally:
        down(state)
        if not os.environ.get("KEEP"):
            shutil.rmtree(state)


def main() -> None:
    """Measure with and without signatures, print the result, write var/bench/send.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipients", type=int, default=20_000)
    arguments = parser.parse_args()
    result, without = (round_of(arguments.recipients, signed=signed) for signed in (True, False))
    result["what"] += f"; {without['ratio']} not signed; load {os.getloadavg()[0]:.1f}"
    save("send", result | {"unsigned": without})
    print(json.dumps(json.loads(Path("var/bench/send.json").read_text()), indent=1))


if __name__ == "__main__":
    main()
