"""A whole stack of daemons for the tests beside this file."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from aiosmtpd.controller import Controller
from argon2 import PasswordHasher
from dnslib.server import DNSLogger, DNSServer
from spamworld import unlearn
from stackworld import (
    DOMAIN,
    MAILBOXES,
    PASSWORD,
    ROLES,
    LmtpController,
    NoSuchName,
    Outside,
    all_moved,
    settle,
    wait_for,
)

from thurn.db.connect import conninfo
from thurn.settings import Settings
from thurn.stack.control import down, start_stack

_BEGUN: set[Path] = set()  # files whose tests use the stack


@pytest.fixture(scope="session")
def stack() -> Iterator[Settings]:
    """Every daemon, a domain and its mailboxes; the path is short for the sake of UNIX sockets."""
    state = Path(tempfile.mkdtemp(prefix="ts-", dir="/tmp"))
    (state / "thurn.toml").write_text('simulate = true\nhostname = "mail.thurn.example"\nretry_first = 2\n')
    try:
        settings = start_stack(state, ROLES)
        add_mailboxes(settings)
        names = DNSServer(
            NoSuchName(), port=settings.port["sim_dns"], address="127.0.0.1", logger=DNSLogger(logf=print_nothing)
        )
        names.start_thread()
        yield settings
        names.stop()
        names.server.server_close()
    finally:
        down(state)
        shutil.rmtree(state)


@pytest.fixture(autouse=True)
def settled(request: pytest.FixtureRequest) -> None:
    """Whoever uses the stack finds its queues empty: no mail of an earlier test arrives in a later one.

    And each file finds spam filters that have learnt nothing, whichever files came before.
    """
    if "stack" not in request.fixturenames:
        return
    stack = request.getfixturevalue("stack")
    settle(stack)
    if request.path not in _BEGUN:
        _BEGUN.add(request.path)
        unlearn(stack)


def print_nothing(line: str) -> None:
    """dnslib would print every question."""


def add_mailboxes(settings: Settings) -> None:
    """The domain of the tests with its mailboxes and an alias."""
    hashed = PasswordHasher().hash(PASSWORD)
    with psycopg.connect(conninfo(settings, "system")) as db:
        row = db.execute(
            "INSERT INTO domain (workspace_id, name, bounce_host, proven_at) VALUES (1, %s, %s, now()) RETURNING id",
            [DOMAIN, f"bounce.{DOMAIN}"],
        ).fetchone()
        assert row is not None
        for address in MAILBOXES:
            db.execute(
                "INSERT INTO mailbox (workspace_id, domain_id, address, password_hash) VALUES (1, %s, %s, %s)",
                [row[0], address, hashed],
            )
        db.execute(
            "INSERT INTO alias (workspace_id, domain_id, address, target) VALUES (1, %s, %s, %s)",
            [row[0], f"wirt@{DOMAIN}", MAILBOXES[0]],
        )


@pytest.fixture
def outside(stack: Settings) -> Iterator[Outside]:
    """Where everything goes that leaves the machine."""
    yield from _listen(stack, Controller, stack.port["sim_smtp"])


@pytest.fixture
def feedback(stack: Settings) -> Iterator[Outside]:
    """Stands in for our own LMTP service of bounces."""
    yield from _listen(stack, LmtpController, stack.port["feedback"])


def _listen(settings: Settings, kind: type[Controller], port: int) -> Iterator[Outside]:
    handler = Outside()
    controller = kind(handler, hostname="127.0.0.1", port=port, ready_timeout=60)
    controller.start()
    yield handler
    wait_for(lambda: all_moved(settings))  # nobody is left in the middle of a session: Postfix would wait for minutes
    controller.stop()
