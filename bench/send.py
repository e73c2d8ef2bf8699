"""`send`: a campaign to 20,000 people, everything included, against `smtp-source -N -d` into the same `out` instance.

Ours is timed from the launch (snapshot, claim, render, two DKIM signatures, hand-over, ledger) until the log has been
read back and every delivery stands as delivered. The peer is timed until the queue is empty again. The remote side of
both is Postfix's smtp-sink. The same without the signatures, which the peer does not make either. All go twice, there
and back, because a queue file costs the more, the more of them were deleted in the last minutes (ext4).

On two cores that all share, the ratio says how much CPU time our part adds. Whether it is what a mail waits for is
asked apart: Postfix and the remote side on one core, ours or smtp-source on the other. Writes var/bench/send.json.
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
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from common import analyze, cpu_seconds, difference, pin, resident, save

from thurn.campaigns import service
from thurn.db.connect import Connection, connect
from thurn.delivery.out_queue import queued_deliveries
from thurn.delivery.sender import SESSIONS
from thurn.mail.tokens import VerpTokens
from thurn.mailhost.service import add_domain
from thurn.secrets import Secrets
from thurn.settings import Settings
from thurn.stack.control import down, start_stack

APART = {0}, {1}  # the cores of Postfix and the remote side, and of everything else
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
    """Two domains, a list of `recipients` contacts, and a campaign ready to be launched; returns its id."""
    async with await connect(settings, "system", autocommit=True) as db:
        for name in ("bench.example", "plain.example"):
            async with db.transaction():
                await add_domain(db, 1, name=name, settings=settings)
        await db.execute("UPDATE domain SET verified_at = now()")
        await db.execute("DELETE FROM dkim_key USING domain d WHERE d.id = domain_id AND d.name = 'plain.example'")
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
        analyze(settings)
        template = await (
            await db.execute(
                "INSERT INTO template (workspace_id, name, kind, subject, source)"
                " VALUES (1, 'Bench', 'html', 'News for {{ contact.first_name }}', %s) RETURNING id",
                [mail()],
            )
        ).fetchone()
        return await campaign_of(db, "bench.example", int((template or {})["id"]))


async def campaign_of(db: Connection, domain: str, template: int) -> int:
    """A campaign of this domain to everybody; returns its id."""
    async with db.transaction():
        return await service.create(
            db, 1, name="Bench", from_name="Bench", from_address=f"post@{domain}", template_id=template, list_ids=[1]
        )


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


def peer(settings: Settings, messages: int, size: int) -> float:
    """smtp-source with as many sessions and as large mails; seconds until the queue was empty again."""
    began = time.monotonic()
    subprocess.run(
        ["smtp-source", "-N", "-d", "-s", str(SESSIONS), "-m", str(messages), "-l", str(size),
         "-f", "b.e1.other.peer@bounce.bench.example", "-t", "reader@sink.example",
         f"127.0.0.1:{settings.port['out']}"],
        check=True,
    )  # fmt: skip
    while subprocess.run(
        ["postqueue", "-c", str(settings.state / "out" / "etc"), "-j"], capture_output=True, check=True
    ).stdout.strip():
        time.sleep(0.1)
    return time.monotonic() - began


def mean_size(settings: Settings) -> int:
    """Mean size of our mails, from the queue manager's log."""
    sizes = [
        int(line.partition(b"size=")[2].partition(b",")[0])
        for line in (settings.state / "log" / "out.mail.log").read_bytes().splitlines()
        if b"from=<b.e1.other." in line and b"size=" in line
    ]
    return sum(sizes) // max(1, len(sizes))


async def another(settings: Settings, domain: str) -> int:
    """One more campaign of what is there."""
    async with await connect(settings, "system", autocommit=True) as db:
        template = await (await db.execute("SELECT id FROM template WHERE name = 'Bench'")).fetchone()
        return await campaign_of(db, domain, int((template or {})["id"]))


@dataclass(eq=False)
class Sums:
    """All rounds of one kind."""

    seconds: float = 0.0
    mails: int = 0
    cpu: Counter[str] = field(default_factory=Counter)

    def add(self, seconds: float, mails: int, cpu: dict[str, float]) -> None:
        """One round."""
        self.seconds += seconds
        self.mails += mails
        self.cpu.update(cpu)

    @property
    def rate(self) -> float:
        """Mails a second."""
        return self.mails / self.seconds

    def each(self) -> dict[str, float]:
        """CPU milliseconds a mail."""
        return {group: round(value / self.mails * 1000, 3) for group, value in self.cpu.items()}


def run(recipients: int, state: Path) -> dict[str, Any]:
    """The whole benchmark in a state directory of its own."""
    (state / "thurn.toml").write_text('hostname = "mail.bench.example"\nsimulate = true\n')
    settings = start_stack(state, ROLES)
    sink = subprocess.Popen(
        ["smtp-sink", "-u", "nobody", "-c", f"127.0.0.1:{settings.port['sim_smtp']}", "1000"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    signed, plain, peers = Sums(), Sums(), Sums()
    plain_apart, peers_apart = Sums(), Sums()
    peak: dict[str, int] = {}
    size = 0
    try:
        first = asyncio.run(prepare(settings, recipients))
        rounds = (signed, plain, peers, peers, plain, signed, plain_apart, peers_apart, peers_apart, plain_apart)
        for kind in rounds:
            if kind is plain_apart and not kind.mails:
                mail, rest = APART
                cores = {role: mail if role == "out" else rest for role in ROLES}
                pin(state, cores, {sink.pid: mail, os.getpid(): rest})
            before = cpu_seconds(state, {"smtp-sink": sink.pid})
            if kind in (peers, peers_apart):
                size = size or mean_size(settings)
                seconds = peer(settings, recipients, size)
            else:
                domain = "bench.example" if kind is signed else "plain.example"
                campaign = first if not signed.mails else asyncio.run(another(settings, domain))
                seconds, seen = asyncio.run(ours(settings, campaign, recipients))
                peak = {role: max(peak.get(role, 0), kib) for role, kib in seen.items()}
            kind.add(seconds, recipients, difference(cpu_seconds(state, {"smtp-sink": sink.pid}), before))
        held = asyncio.run(queued_deliveries(state / "out" / "queue", VerpTokens(Secrets(state).derive("verp"))))
        assert not held
    finally:
        sink.terminate()
    ratio = round(plain.rate / peers.rate, 3)
    return {
        "what": f"{recipients} recipients, {size} bytes a mail, RSA-2048 and Ed25519, {SESSIONS} sessions;"
                f" {ratio} not signed",
        "unit": "mails a second", "ours": round(signed.rate, 1), "peer": round(peers.rate, 1),
        "ratio": round(signed.rate / peers.rate, 3), "cpu_ms_per_mail": signed.each(),
        "unsigned": {"ours": round(plain.rate, 1), "ratio": ratio, "cpu_ms_per_mail": plain.each()},
        "unsigned_apart": {
            "ours": round(plain_apart.rate, 1), "peer": round(peers_apart.rate, 1),
            "ratio": round(plain_apart.rate / peers_apart.rate, 3), "cpu_ms_per_mail": plain_apart.each(),
        },
        "peer_cpu_ms_per_mail": peers.each(), "resident_kib_peak": peak,
    }  # fmt: skip


def main() -> None:
    """Run in a temporary installation, print the result, write var/bench/send.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipients", type=int, default=20_000)
    arguments = parser.parse_args()
    state = Path(tempfile.mkdtemp(prefix="thurn-bench-", dir=os.environ.get("BENCH_DIR", "/tmp")))
    state.chmod(0o755)
    try:
        save("send", run(arguments.recipients, state))
    finally:
        down(state)
        if not os.environ.get("KEEP"):
            shutil.rmtree(state)
    print(json.dumps(json.loads(Path("var/bench/send.json").read_text()), indent=1))


if __name__ == "__main__":
    main()
