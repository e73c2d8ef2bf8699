"""What reverse DNS says about a sending address, in words."""

from collections.abc import Callable, Iterator

import pytest
from dnslib.server import DNSLogger, DNSServer
from dnslib.zoneresolver import ZoneResolver

from thurn.alerts import open_alerts
from thurn.db.connect import Connection
from thurn.delivery import egress
from thurn.delivery.egress_check import here, judge, look
from thurn.delivery.jobs import check_all
from thurn.dns.verdicts import Answers
from thurn.settings import Settings

IP, HELO = "192.0.2.22", "out2.brotzeit.example"


@pytest.mark.parametrize(
    ("pointer", "forward", "level", "part"),
    [
        (Answers("found", (f"{HELO}.",)), Answers("found", (IP,)), "ok", "point to each other"),
        (Answers("found", ("OUT2.Brotzeit.example.",)), Answers("found", ("192.0.2.1", IP)), "ok", "each other"),
        (Answers("nothing"), Answers("found", (IP,)), "bad", "no reverse DNS"),
        (Answers("no-name"), Answers("found", (IP,)), "bad", "no reverse DNS"),
        (Answers("found", ("host-22.provider.example.",)), Answers("found", (IP,)), "bad", "host-22.provider.example"),
        (Answers("found", (f"{HELO}.",)), Answers("found", ("192.0.2.9",)), "bad", "leads to 192.0.2.9"),
        (Answers("found", (f"{HELO}.",)), Answers("no-name"), "bad", "has no address"),
        (Answers("timeout"), Answers("found", (IP,)), "warn", "could not be looked up"),
    ],
)
def test_both_ways_must_lead_to_each_other(pointer: Answers, forward: Answers, level: str, part: str) -> None:
    finding = judge(IP, HELO, pointer, forward)
    assert (finding.level, part in finding.what) == (level, True), finding
    assert bool(finding.fix) == (level != "ok")


def test_whether_this_machine_has_an_address_is_tried() -> None:
    assert here("127.0.0.2").level == "ok"
    assert here("::1").level == "ok"
    assert here("192.0.2.22").level == "bad"


@pytest.fixture
def names(clean: Settings) -> Iterator[Callable[[str], Settings]]:
    """`names(zone)` serves a zone of its own; returns settings that ask it."""
    servers: list[DNSServer] = []

    def serve(zone: str) -> Settings:
        server = DNSServer(ZoneResolver(zone), address="127.0.0.1", port=0, logger=DNSLogger(logf=lambda _: None))
        server.start_thread()
        servers.append(server)
        return clean.model_copy(update={"dns": [f"127.0.0.1:{server.server.server_address[1]}"]})

    yield serve
    for server in servers:
        server.stop()
        server.server.server_close()


FORWARD = "out2.brotzeit.example. 60 IN A 127.0.0.2\n"


async def test_operators_are_told_when_reverse_dns_breaks_and_when_it_is_mended(
    system: Connection, names: Callable[[str], Settings]
) -> None:
    settings = names(FORWARD)
    await egress.add(system, settings, name="out2", bind4="127.0.0.2", helo="out2.brotzeit.example", pool="default")
    for _ in range(2):
        await check_all(system, settings)
    [alert] = await open_alerts(system)
    assert "127.0.0.2 has no reverse DNS" in alert["text"]
    assert "where you rent the address" in alert["text"]
    assert (await egress.get(system, "e1"))["checks"][0]["level"] == "warn", "nothing to tell before there is a name"
    settings = names(FORWARD + "2.0.0.127.in-addr.arpa. 60 IN PTR out2.brotzeit.example.")
    await check_all(system, settings)
    assert await open_alerts(system) == []
    assert [each["level"] for each in (await egress.get(system, "out2"))["checks"]] == ["ok", "ok"]


NODE = "two.brotzeit.example"
BOTH = f"{NODE}. 60 IN A 127.0.0.2\n{NODE}. 60 IN AAAA fd00::2\n"
FOUR = f"2.0.0.127.in-addr.arpa. 60 IN PTR {NODE}.\n"
SIX = f"2.{'0.' * 27}0.0.d.f.ip6.arpa. 60 IN PTR {NODE}.\n"


@pytest.mark.parametrize(
    ("zone", "missing", "bad"),
    [
        (BOTH + FOUR + SIX, [], []),
        (BOTH + FOUR, [], ["fd00::2 has no reverse DNS"]),
        (BOTH + SIX, [], ["127.0.0.2 has no reverse DNS"]),
        (BOTH.splitlines()[0] + "\n" + FOUR + SIX, [], [f"fd00::2 points to {NODE}, but that name leads to 127.0.0.2"]),
        (BOTH + FOUR + SIX.replace("two", "one"), [], ["fd00::2 points to one.brotzeit.example, not to two"]),
        (BOTH + FOUR + SIX, ["fd00::2"], ["machine two does not have the address fd00::2"]),
    ],
    ids=["right", "no-six", "no-four", "one-way", "other-name", "not-there"],
)
async def test_both_addresses_of_a_further_machine_are_judged_by_its_own_name(
    system: Connection, names: Callable[[str], Settings], zone: str, missing: list[str], bad: list[str]
) -> None:
    await system.execute(
        """INSERT INTO node (name, login, verifier, state, joined_at, seen_at, able, hostname, missing)
           VALUES ('two', 'thurn_node_two', 'p', 'joined', now(), now(), true, %s, %s)""",
        [NODE, missing],
    )
    await system.execute("INSERT INTO egress (name, node, bind4, bind6) VALUES ('n2', 'two', '127.0.0.2', 'fd00::2')")
    found = await look(await egress.get(system, "n2"), names(zone))
    assert len(found) == 4
    broken = [each.what for each in found if each.level != "ok"]
    assert len(broken) == len(bad)
    assert all(part in what for part, what in zip(bad, broken, strict=True)), broken


async def test_an_address_of_a_machine_that_was_never_started_is_judged_by_that_machines_name_all_the_same(
    system: Connection, names: Callable[[str], Settings]
) -> None:
    await system.execute(
        """INSERT INTO node (name, login, verifier, state, joined_at, hostname)
           VALUES ('two', 'thurn_node_two', 'p', 'joined', now(), %s)""",
        [NODE],
    )
    await system.execute("INSERT INTO egress (name, node, bind4) VALUES ('n2', 'two', '127.0.0.2')")
    heard, named = await look(await egress.get(system, "n2"), names(BOTH + FOUR))
    assert heard.level == "warn"
    assert heard.what.startswith("Nothing was heard of the sending machine two yet: whether it has 127.0.0.2")
    assert (named.level, named.what) == ("ok", f"127.0.0.2 and {NODE} point to each other.")
