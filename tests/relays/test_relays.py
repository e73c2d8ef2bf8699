"""Relays: what may be entered, how one is tried, when its circuit opens. The servers are stand-ins on loopback."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from cryptography.exceptions import InvalidTag
from otherrelay import relay

from thurn.db.connect import Connection
from thurn.db.fetch import maybe, one, rows
from thurn.problems import Invalid, NotFound
from thurn.relays import port25, service
from thurn.relays.circuit import FIRST, LONGEST, Circuit, tried
from thurn.relays.presets import presets
from thurn.relays.probe import Door, probe
from thurn.relays.watch import look, try_one
from thurn.settings import Settings

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def test_each_preset_can_be_entered_as_it_is() -> None:
    assert list(presets()) == ["ses", "sendgrid", "mailgun", "postmark", "gmail", "mailjet", "brevo", "other"]
    for preset in presets().values():
        assert preset.security in service.SECURITIES
        assert preset.hint
        assert preset.source.startswith("https://") or preset.key == "other"


# ---- the circuit


def test_a_circuit_opens_after_two_failures_and_stays_open_longer_each_time() -> None:
    circuit = tried(Circuit(), works=False, lasting=False, now=NOW)
    assert not circuit.open
    pauses = []
    for _ in range(8):
        circuit = tried(circuit, works=False, lasting=False, now=NOW)
        assert circuit.broken_until
        pauses.append(circuit.broken_until - NOW)
    assert pauses[:3] == [FIRST, FIRST * 2, FIRST * 4]
    assert pauses[-1] == LONGEST
    assert not circuit.due(NOW)
    assert circuit.due(NOW + LONGEST)
    assert circuit.open, "over time it is due, not closed"
    assert tried(circuit, works=True, lasting=False, now=NOW) == Circuit()


def test_a_wrong_password_opens_it_at_once() -> None:
    assert tried(Circuit(), works=False, lasting=True, now=NOW).open


# ---- trying one


def test_it_signs_in_over_starttls_and_over_tls(settings: Settings) -> None:
    for implicit in (False, True):
        with relay({"us": "secret"}, implicit=implicit) as other:
            door = Door(
                "localhost", other.port, "tls" if implicit else "starttls", "us", "secret", other.fingerprint
            )  # fmt: skip
            found = probe(settings, door, _here)
            assert found.works, found
            assert other.sign_ins == ["us"]


def test_a_password_goes_to_nobody_who_cannot_prove_who_it_is(settings: Settings) -> None:
    with relay({"us": "secret"}) as other:
        unsigned = probe(settings, Door("localhost", other.port, "starttls", "us", "secret"), _here)
        another = probe(settings, Door("localhost", other.port, "starttls", "us", "secret", "0" * 64), _here)
        assert (unsigned.trouble, another.trouble) == ("certificate", "certificate")
        assert other.fingerprint in another.says
        assert other.sign_ins == []


def test_a_wrong_password_is_told_from_everything_else(settings: Settings) -> None:
    with relay({"us": "secret"}) as other:
        found = probe(settings, Door("localhost", other.port, "starttls", "us", "guess", other.fingerprint), _here)
    assert found.trouble == "password"
    assert "535" in found.says


@pytest.mark.parametrize(
    ("says", "trouble"),
    [
        (b"", "network"),
        (b"554 5.7.1 Not you\r\n", "refused"),
        (b"421 Busy\r\n", "refused"),
        (b"\xff\x00 hello\r\n", "refused"),
        (b"220 " + b"x" * 200_000, "refused"),
        (b"220-more\r\n" * 20_000, "network"),
        (b"220 hello\r\n250 plain\r\n", "certificate"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "refused"),
    ],
)
def test_whatever_a_server_says_ends_in_words(settings: Settings, says: bytes, trouble: str) -> None:
    with _speaker(says) as port:
        found = probe(settings, Door("localhost", port, "starttls", "us", "secret"), _here)
    assert found.trouble == trouble, found
    assert found.says.isprintable()


def test_our_own_network_is_not_reached(settings: Settings) -> None:
    found = probe(settings.model_copy(update={"simulate": False}), Door("inner.example", 25, "none"), _here)
    assert "not on the public Internet" in found.says


def test_nobody_listens(settings: Settings) -> None:
    with socket.socket() as probe_socket:
        probe_socket.bind(("127.0.0.1", 0))
        port = probe_socket.getsockname()[1]
        assert "takes no connections" in probe(settings, Door("localhost", port, "none"), _here).says


# ---- what is kept


@pytest.mark.parametrize(
    ("relay", "field"),
    [
        (service.Relay("not a host"), "host"),
        (service.Relay("x.example", 0), "port"),
        (service.Relay("x.example", 70000), "port"),
        (service.Relay("x.example", security="maybe"), "security"),
        (service.Relay("x.example", security="none", username="u", password="p"), "security"),
        (service.Relay("x.example", username="u"), "password"),
        (service.Relay("x.example", password="p"), "username"),
        (service.Relay("x.example", username="a:b", password="p"), "username"),
        (service.Relay("x.example", username="u", password="p\nsmtp.other.example evil:evil"), "password"),
        (service.Relay("x.example", username="u\n", password="p\x00"), "password"),
        (service.Relay("x.example", username="u" * 501, password="p"), "username"),
        (service.Relay("x.example", connections=0), "connections"),
        (service.Relay("x.example", rate_per_minute=0), "rate_per_minute"),
        (service.Relay("x.example", fingerprint="zz"), "fingerprint"),
    ],
)
async def test_what_cannot_be_a_relay_is_refused_by_its_field(
    system: Connection, clean: Settings, relay: service.Relay, field: str
) -> None:
    with pytest.raises(Invalid) as refused:
        await service.add(system, relay, settings=clean)
    assert refused.value.field == field
    assert await rows(system, "SELECT 1 FROM relay") == []


async def test_a_password_is_sealed_and_bound_to_its_server_and_user(system: Connection, clean: Settings) -> None:
    number = await service.add(system, service.Relay("a.example", username="us", password="s3cret"), settings=clean)
    kept = await one(system, "SELECT * FROM relay WHERE egress_id = %s", [number])
    assert b"s3cret" not in bytes(kept["password"])
    assert "password" not in await service.get(system, number)
    assert (await service.door(system, number, settings=clean)).password == "s3cret"
    # Another host or user: the old password must not go there.
    for changed in (service.Relay("evil.example", username="us"), service.Relay("a.example", username="them")):
        with pytest.raises(Invalid, match="again"):
            await service.change(system, number, changed, settings=clean)
    await service.change(system, number, service.Relay("a.example", 465, "tls", "us"), settings=clean)
    assert (await service.door(system, number, settings=clean)).password == "s3cret"
    await service.change(system, number, service.Relay("a.example"), settings=clean)
    assert (await one(system, "SELECT password FROM relay"))["password"] is None


async def test_it_is_put_to_use_in_one_way_at_a_time(system: Connection, clean: Settings) -> None:
    await _house(system)
    number = await service.add(system, service.Relay("a.example"), settings=clean, use="fallback")
    assert await _ranks(system) == {"e1": 2, "r1": 3}
    await service.put_to_use(system, number, use="first")
    assert await _ranks(system) == {"e1": 2, "r1": 1}
    await service.put_to_use(system, number, use="domain", domain="Brotzeit.example ")
    assert await _ranks(system) == {"e1": 2}
    (shown,) = await service.listed(system)
    assert shown["domains"] == "brotzeit.example"
    with pytest.raises(Invalid, match="domains"):
        await service.put_to_use(system, number, use="domain", domain="nobody.example")
    await service.remove(system, number)
    assert await rows(system, "SELECT 1 FROM pool_rule") == []
    assert await service.listed(system) == []
    with pytest.raises(NotFound):
        await service.get(system, number)
    # Its name is not given to another while mail may be on its way to it.
    again = await service.add(system, service.Relay("b.example"), settings=clean)
    assert (await service.get(system, again))["name"] == "r2"


async def test_a_relay_that_goes_leaves_the_order_of_the_others(system: Connection, clean: Settings) -> None:
    first = await service.add(system, service.Relay("a.example"), settings=clean, use="first")
    await service.add(system, service.Relay("b.example"), settings=clean, use="fallback")
    await service.remove(system, first)
    ranks = await _ranks(system)
    assert ranks["e1"] < ranks["r2"], "the one behind must not share what our own addresses can send"


async def test_two_domains_at_one_host_keep_their_passwords_apart(system: Connection, clean: Settings) -> None:
    first = await service.add(system, service.Relay("a.example", username="x", password="one"), settings=clean)
    second = await service.add(system, service.Relay("a.example", username="y", password="two"), settings=clean)
    await system.execute("UPDATE relay SET password = (SELECT password FROM relay WHERE egress_id = %s)", [first])
    with pytest.raises(InvalidTag):
        await service.door(system, second, settings=clean)


# ---- looking after them


async def test_a_broken_relay_is_told_once_and_taken_back(system: Connection, clean: Settings) -> None:
    with relay({"us": "secret"}) as other:
        number = await service.add(
            system,
            service.Relay("localhost", other.port, "starttls", "us", "wrong", other.fingerprint),
            settings=clean,
        )
        await look(clean)
        kept = await service.get(system, number)
        assert kept["works"] is False
        assert kept["broken_until"] is not None
        alerts = await rows(system, "SELECT subject, cleared_at FROM alert")
        assert [alert["subject"] for alert in alerts] == ["The relay localhost does not take our mail"]
        tries = len(other.sign_ins)
        await look(clean)  # not due
        assert len(other.sign_ins) == tries
        await try_one(system, clean, number)
        assert len(await rows(system, "SELECT 1 FROM alert")) == 1
        await service.change(
            system, number, service.Relay("localhost", other.port, "starttls", "us", "secret", other.fingerprint),
            settings=clean,
        )  # fmt: skip
        await look(clean)
        assert (await service.get(system, number))["works"] is True
        assert await maybe(system, "SELECT 1 FROM alert WHERE cleared_at IS NULL") is None


async def test_mail_that_was_put_off_has_it_tried_at_once(system: Connection, clean: Settings) -> None:
    with relay({}) as other:
        number = await service.add(
            system, service.Relay("localhost", other.port, "starttls", fingerprint=other.fingerprint), settings=clean
        )
        await look(clean)
        first = (await service.get(system, number))["checked_at"]
        await look(clean)
        assert (await service.get(system, number))["checked_at"] == first
        await system.execute(
            """INSERT INTO lane_tally (campaign_id, egress_id, provider, measure, n)
               VALUES (1, %s, 'other', 'deferred', 1)""",
            [number],
        )
        await look(clean)
        assert (await service.get(system, number))["checked_at"] > first


# ---- port 25


async def test_a_blocked_port_25_is_told_with_what_to_do_until_a_relay_works(
    system: Connection, clean: Settings
) -> None:
    with socket.socket() as closed, _speaker(b"") as silent, _speaker(b"220 mx.example\r\n") as open_:
        closed.bind(("127.0.0.1", 0))
        blocked = [("127.0.0.1", closed.getsockname()[1]), ("127.0.0.1", silent)]
        assert not await port25.look(clean, blocked)
        assert not await port25.look(clean, blocked)
        (alert,) = await rows(system, "SELECT subject, link, cleared_at FROM alert")
        assert alert["subject"] == "Mail cannot leave this server: port 25 is blocked"
        assert alert["link"] == "/house/delivery/relays/new"
        assert await port25.look(clean, [*blocked, ("127.0.0.1", open_)])
        assert await maybe(system, "SELECT 1 FROM alert WHERE cleared_at IS NULL") is None
        number = await service.add(system, service.Relay("a.example"), settings=clean, use="fallback")
        await system.execute("UPDATE relay SET works = true WHERE egress_id = %s", [number])
        await port25.look(clean, blocked)
        assert await maybe(system, "SELECT 1 FROM alert WHERE cleared_at IS NULL") is None


async def _ranks(db: Connection) -> dict[str, int]:
    found = await rows(
        db,
        """SELECT e.name, pe.rank FROM pool_egress pe JOIN egress e ON e.id = pe.egress_id
           JOIN pool p ON p.id = pe.pool_id WHERE p.name = 'default'""",
    )
    return {row["name"]: row["rank"] for row in found}


async def _house(db: Connection) -> None:
    await db.execute("INSERT INTO domain (workspace_id, name, bounce_host) VALUES (1, 'brotzeit.example', 'b.x')")


def _here(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


@contextmanager
def _speaker(says: bytes) -> Iterator[int]:
    """Says this to whoever connects, then hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    link, _ = server.accept()
                    with link:
                        link.sendall(says)
                        link.settimeout(2)
                        while says and link.recv(1000):
                            pass
                except OSError:
                    if server.fileno() < 0:
                        return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)  # to close it would leave the thread waiting in `accept`
    thread.join(60)
