"""Asking the name servers of a zone themselves, all of them, and what comes of those who cannot be asked."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import dnslib
import pytest
from dnsworld import Zone, serving

from thurn.dns import check
from thurn.dns.authority import Authority
from thurn.dns.findings import Answers
from thurn.dns.records import Facts, Record
from thurn.mail.dns import make_resolver

SPF = Record("spf", "brotzeit.example", "TXT", ("v=spf1 -all",), "SPF", "")


@dataclass
class World:
    """A resolver that remembers the past, and the zone's two name servers."""

    resolver: Zone
    ns1: Zone
    ns2: Zone
    port: int

    def authority(self, *, public: bool = False) -> Authority:
        resolver = make_resolver([("127.0.0.1", self.port)], timeout=60.0)
        return Authority(resolver, port=self.port, public=public, patience=60.0)  # nobody here is silent


@contextmanager
def on_one_port(resolver: Zone, ns1: Zone, ns2: Zone) -> Iterator[int]:
    with ExitStack() as stack:
        for _ in range(20):  # the port that is free at one address may be taken at another
            with ExitStack() as tried:
                _, port = tried.enter_context(serving(resolver))
                try:
                    for address, zone in (("127.0.0.2", ns1), ("127.0.0.3", ns2)):
                        tried.enter_context(serving(zone, address, port))
                except OSError:
                    continue
                stack.push(tried.pop_all())
                break
        yield port


@pytest.fixture
def world() -> Iterator[World]:
    """Three servers on three addresses and one port; the resolver still has the record of yesterday."""
    resolver, ns1, ns2 = Zone(), Zone(), Zone()
    with ExitStack() as stack:
        port = stack.enter_context(on_one_port(resolver, ns1, ns2))
        resolver.authoritative = False
        resolver.held["brotzeit.example", "NS"] = [dnslib.NS("ns1.host.example"), dnslib.NS("ns2.host.example")]
        resolver.held["ns1.host.example", "A"] = [dnslib.A("127.0.0.2")]
        resolver.held["ns2.host.example", "A"] = [dnslib.A("127.0.0.3")]
        for zone in (resolver, ns1, ns2):
            zone.publish(SPF, "v=spf1 ~all")
        yield World(resolver, ns1, ns2, port)


async def test_the_name_servers_are_asked_not_the_resolver_that_remembers(world: World) -> None:
    for zone in (world.ns1, world.ns2):
        zone.publish(SPF)
    way = world.authority()
    assert await way.look_up(SPF.name, "TXT") == Answers("found", SPF.values)
    assert await way.servers(SPF.name) == ("ns1.host.example", "ns2.host.example")


async def test_a_name_server_that_lags_behind_is_told(world: World) -> None:
    world.ns1.publish(SPF)
    found = await world.authority().look_up(SPF.name, "TXT")
    assert found == Answers("found", SPF.values, others=(("ns2.host.example", Answers("found", ("v=spf1 ~all",))),))


async def test_a_name_below_the_zone_is_asked_for_at_the_zone(world: World) -> None:
    deep = Record("dmarc", "_dmarc.brotzeit.example", "TXT", ("v=DMARC1; p=none",), "DMARC", "")
    for zone in (world.ns1, world.ns2):
        zone.publish(deep)
    assert await world.authority().look_up(deep.name, "TXT") == Answers("found", deep.values)
    assert (await world.authority().look_up("none.brotzeit.example", "TXT")).status == "no-name"


async def test_one_dead_server_of_two_does_no_harm_and_with_both_dead_the_resolver_speaks(world: World) -> None:
    world.ns1.publish(SPF)
    world.ns2.failing[SPF.name] = dnslib.RCODE.SERVFAIL
    assert await world.authority().look_up(SPF.name, "TXT") == Answers("found", SPF.values)
    world.ns1.failing[SPF.name] = dnslib.RCODE.REFUSED
    assert (await world.authority().look_up(SPF.name, "TXT")).values == ("v=spf1 ~all",)


async def test_servers_inside_are_not_knocked_on(world: World) -> None:
    found = await world.authority(public=True).look_up(SPF.name, "TXT")
    assert found.values == ("v=spf1 ~all",)
    assert world.ns1.asked == world.ns2.asked == 0


async def test_an_alias_into_another_zone_is_followed_by_the_resolver(world: World) -> None:
    alias = Record("dkim", "s._domainkey.brotzeit.example", "CNAME", ("s.keys.example",), "", "")
    for zone in (world.ns1, world.ns2):
        zone.publish(alias)
    world.resolver.publish(replace(alias, type="TXT"), "v=DKIM1; p=abc")
    assert (await world.authority().look_up(alias.name, "TXT")).values == ("v=DKIM1; p=abc",)


async def test_a_zone_without_name_servers_is_left_to_the_resolver(world: World) -> None:
    del world.resolver.held["brotzeit.example", "NS"]
    way = world.authority()
    assert (await way.look_up(SPF.name, "TXT")).values == ("v=spf1 ~all",)
    assert await way.servers(SPF.name) == ()


async def test_a_silent_dns_ends_within_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "WHOLE", 0.5)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        server = ("silent", "127.0.0.1", silent.getsockname()[1])
        way = Authority(make_resolver([server[1:]], timeout=60.0), [server], patience=60.0)
        start = time.monotonic()
        look = await check.look_by(way, Facts("brotzeit.example", "bounce.brotzeit.example", (), "mail.x.example"))
    assert time.monotonic() - start < 10
    assert {found.level for found in look.checks} == {"unknown"}


async def test_many_records_at_many_servers_stay_within_a_bound_of_questions(world: World) -> None:
    keys = Facts("brotzeit.example", "bounce.brotzeit.example", (), "mail.brotzeit.example", mta_sts_mode="enforce",
                 tls_reports=True, ports={"imaps": 993, "submissions": 465, "https": 443})  # fmt: skip
    start = time.monotonic()
    look = await check.look_by(world.authority(), keys)
    assert len(look.checks) > 12
    assert world.ns1.asked < 60
    assert world.resolver.asked < 120
    assert time.monotonic() - start < check.WHOLE


async def test_an_answer_that_is_no_dns_is_a_failure(world: World) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    way = Authority(make_resolver([("127.0.0.1", port)], timeout=0.3), [("gone", "127.0.0.1", port)], patience=0.2)
    assert (await way.look_up(SPF.name, "TXT")).status in ("timeout", "failed")
