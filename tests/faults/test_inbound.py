"""kill -9 while mail comes in, a full disk, a database that is away: what got a 250 is in the mailbox.

`make faults` sends more: FAULTS_MAILS says how many.
"""

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from campaigns import kill
from dnslib import RCODE, DNSRecord
from dnslib.server import BaseResolver, DNSLogger, DNSServer
from inbound import Servers, arrived, deliver, message, queued, wait_until_delivered

from thurn.db.connect import conninfo
from thurn.settings import Settings
from thurn.stack.control import down, start_stack, status
from thurn.stack.supervision import Supervisor

pytestmark = pytest.mark.stack

ROLES = ["db", "redis", "guard", "keeper", "spam", "imap", "mx"]
KILLED = ("mx", "imap", "spam", "redis", "guard", "db", "keeper")
MAILS = int(os.environ.get("FAULTS_MAILS", "210"))
RECIPIENTS = [f"{name}@brotzeit.example" for name in ("resi", "xaver", "vroni")]
CROWDED = "sepp@full.example"


class NoSuchName(BaseResolver):
    """A DNS in which nothing exists."""

    def resolve(self, request: DNSRecord, handler: object) -> DNSRecord:
        reply: DNSRecord = request.reply()
        reply.header.rcode = RCODE.NXDOMAIN
        return reply


def print_nothing(line: str) -> None:
    """dnslib would print every question."""


@pytest.fixture(scope="module")
def receiving() -> Iterator[Settings]:
    """Everything that takes mail in, with a few mailboxes."""
    state = Path(tempfile.mkdtemp(prefix="ti-", dir="/tmp"))
    state.chmod(0o755)
    (state / "thurn.toml").write_text('hostname = "mail.house.example"\nsimulate = true\nretry_first = 1\n')
    try:
        settings = start_stack(state, ROLES)
        with psycopg.connect(conninfo(settings, "system")) as db:
            for address in (*RECIPIENTS, CROWDED):
                domain = address.partition("@")[2]
                db.execute(
                    """WITH d AS (INSERT INTO domain (workspace_id, name, bounce_host, proven_at)
                                  VALUES (1, %(d)s, 'bounce.' || %(d)s, now())
                                  ON CONFLICT (name) DO UPDATE SET proven_at = now() RETURNING id)
                       INSERT INTO mailbox (workspace_id, domain_id, address, password_hash)
                         SELECT 1, id, %(a)s, 'x' FROM d""",
                    {"d": domain, "a": address},
                )
        names = DNSServer(
            NoSuchName(), port=settings.port["sim_dns"], address="127.0.0.1", logger=DNSLogger(logf=print_nothing)
        )
        names.start_thread()
        yield settings
        names.stop()
        names.server.server_close()
    finally:
        down(state)
        shutil.rmtree(state, ignore_errors=True)


def test_every_mail_that_got_a_250_is_in_the_mailbox_whoever_is_killed(receiving: Settings) -> None:
    begun = time.monotonic()
    servers = Servers(receiving, RECIPIENTS, MAILS)
    servers.start()
    try:
        for number, role in enumerate(KILLED, 1):
            servers.wait_for(MAILS * number // (len(KILLED) + 1))
            kill(receiving, role)
    finally:
        servers.finish()
    wait_until_delivered(receiving)
    found = arrived(receiving)
    lost = servers.taken - set(found)
    twice = {mark: times for mark, times in found.items() if times > 1}
    counts = {
        "mails": MAILS, "taken": len(servers.taken), "in_mailboxes": len(found), "lost": len(lost),
        "duplicates": sum(twice.values()) - len(twice), "put_off": dict(servers.put_off), "killed": list(KILLED),
        "seconds": round(time.monotonic() - begun, 1),
    }  # fmt: skip
    print(json.dumps(counts))
    assert not servers.given_up
    assert not lost
    assert len(servers.taken) == MAILS
    # Only what was under way in a session that broke can come twice: RFC 5321, 4.2.5.
    assert len(twice) <= servers.at_once * len(KILLED)


def test_without_the_database_mail_is_put_off_and_then_taken(receiving: Settings) -> None:
    supervisor = Supervisor(receiving.state)
    supervisor.stop("db")
    _wait(lambda: status(receiving)["db"].process.state == "stopped")
    try:
        assert deliver(receiving, RECIPIENTS[0], message("away", RECIPIENTS[0])).startswith("4")
    finally:
        supervisor.start("db")
    _wait(lambda: not deliver(receiving, RECIPIENTS[0], message("back", RECIPIENTS[0])))
    wait_until_delivered(receiving)
    assert (arrived(receiving)["away"], arrived(receiving)["back"]) == (0, 1)


def test_on_a_full_disk_mail_waits_and_none_is_lost(receiving: Settings) -> None:
    folder = receiving.state / "mail" / "full.example"
    folder.mkdir(parents=True)
    options = "size=256k,mode=0700"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"this machine lets nobody mount: {mounted.stderr.decode().strip()}")
    try:
        if _room(folder) > 10**6:
            pytest.skip("this machine's tmpfs has no limit")
        shutil.chown(folder, "thurn-mail", "thurn-mail")
        marks = {f"full{n}" for n in range(6)}
        for mark in sorted(marks):
            # Tried again as servers do: something may still be coming to itself after the database was away.
            _wait(lambda mark=mark: not deliver(receiving, CROWDED, message(mark, CROWDED, 100_000)))
        # Two fit. A mail in the active queue may still find room or not: wait until each has been told.
        _wait(lambda: len(marks & set(arrived(receiving))) + queued(receiving)["deferred"] == len(marks))
        assert queued(receiving)["deferred"]
        subprocess.run(["mount", "-o", "remount,size=8m", folder], check=True)
        wait_until_delivered(receiving)
        assert {mark: arrived(receiving)[mark] for mark in marks} == dict.fromkeys(marks, 1)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def _room(folder: Path) -> int:
    """Bytes that really fit, up to 2 MB: some sandboxes take a size for a tmpfs and ignore it."""
    probe = folder / "probe"
    try:
        probe.write_bytes(bytes(2 * 10**6))
    except OSError:
        pass
    room = probe.stat().st_size if probe.exists() else 0
    probe.unlink(missing_ok=True)
    return room


def _wait(condition, seconds: float = 120) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.1)
