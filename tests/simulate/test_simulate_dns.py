"""The simulated DNS, asked with dnspython."""

import socket
from pathlib import Path

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.resolver
import dns.reversename
import pytest

from thurn.delivery.providers import provider_of
from thurn.settings import Settings
from thurn.simulate import client
from thurn.simulate.dns import answer
from thurn.simulate.world import DOMAINS
from thurn.simulate.zones import Record, Zones


@pytest.fixture
def resolver(internet: Settings) -> dns.resolver.Resolver:
    resolver = dns.resolver.Resolver(configure=False)
    ((host, resolver.port),) = internet.nameservers
    resolver.nameservers = [host]
    resolver.lifetime = 60
    return resolver


def texts(resolver: dns.resolver.Resolver, name: str) -> list[str]:
    return [b"".join(answer.strings).decode() for answer in resolver.resolve(name, "TXT")]


def test_the_mail_servers_of_a_provider_give_it_away(resolver: dns.resolver.Resolver) -> None:
    for domain, provider in DOMAINS.items():
        hosts = [str(mx.exchange) for mx in resolver.resolve(domain, "MX")]
        assert provider_of(hosts) == provider.name, domain
        for host in hosts:
            assert [str(a) for a in resolver.resolve(host, "A")] == ["127.0.0.1"]


def test_providers_publish_spf_dkim_and_dmarc(resolver: dns.resolver.Resolver) -> None:
    assert texts(resolver, "gmail.example")[0].startswith("v=spf1 ")
    assert texts(resolver, "_dmarc.gmail.example")[0].startswith("v=DMARC1;")
    assert texts(resolver, "sim._domainkey.gmail.example")[0].startswith("v=DKIM1; k=ed25519; p=")


def test_this_machine_has_a_name_forward_and_back(resolver: dns.resolver.Resolver) -> None:
    assert [str(a) for a in resolver.resolve("mail.thurn.example", "A")] == ["127.0.0.1"]
    assert [str(p) for p in resolver.resolve(dns.reversename.from_address("127.0.0.1"), "PTR")] == [
        "mail.thurn.example."
    ]


def test_a_name_that_is_not_and_a_type_that_is_not_are_told_apart(resolver: dns.resolver.Resolver) -> None:
    for name in ("brotzeit.example", "www.gmail.example", "example.org"):
        with pytest.raises(dns.resolver.NXDOMAIN):
            resolver.resolve(name, "MX")
    for name in ("gmail.example", "_domainkey.gmail.example", "l.google.com"):  # the last two only hold names below
        with pytest.raises(dns.resolver.NoAnswer):
            resolver.resolve(name, "AAAA")


def test_published_records_are_found_however_long(internet: Settings, resolver: dns.resolver.Resolver) -> None:
    key = "v=DKIM1; k=rsa; p=" + "A1b2" * 98
    client.publish(
        internet,
        [
            {"name": "Brotzeit.example.", "type": "mx", "value": "10 mail.brotzeit.example"},
            {"name": "brotzeit.example", "type": "TXT", "value": "v=spf1 ip4:127.0.0.1 -all"},
            {"name": "brotzeit.example", "type": "TXT", "value": '"one \\"quoted\\" " "and two"', "ttl": 5},
            {"name": "rsa._domainkey.brotzeit.example", "type": "TXT", "value": key},
            {"name": "track.brotzeit.example", "type": "CNAME", "value": "mail.thurn.example"},
            {"name": "_imaps._tcp.brotzeit.example", "type": "SRV", "value": "0 1 993 mail.brotzeit.example"},
            {"name": "mail.brotzeit.example", "type": "AAAA", "value": "::1"},
        ],
    )
    assert [str(mx) for mx in resolver.resolve("brotzeit.example", "MX")] == ["10 mail.brotzeit.example."]
    assert texts(resolver, "brotzeit.example") == ["v=spf1 ip4:127.0.0.1 -all", 'one "quoted" and two']
    assert texts(resolver, "rsa._domainkey.brotzeit.example") == [key]
    assert [str(a) for a in resolver.resolve("track.brotzeit.example", "A")] == ["127.0.0.1"]
    assert [str(srv) for srv in resolver.resolve("_imaps._tcp.brotzeit.example", "SRV")] == [
        "0 1 993 mail.brotzeit.example."
    ]
    assert [str(a) for a in resolver.resolve("mail.brotzeit.example", "AAAA")] == ["::1"]


def test_publishing_again_replaces_a_name_and_type_only(internet: Settings, resolver: dns.resolver.Resolver) -> None:
    for value in ("old", "new"):
        client.publish(internet, [{"name": "x.example", "type": "TXT", "value": value}])
    client.publish(internet, [{"name": "x.example", "type": "A", "value": "127.0.0.1"}])
    assert texts(resolver, "x.example") == ["new"]
    client.withdraw(internet, "x.example")
    assert client.published(internet) == []


@pytest.mark.parametrize(
    "record",
    [
        {"name": "x.example", "type": "A", "value": "nonsense"},
        {"name": "x.example", "type": "MX", "value": "mail.x.example"},
        {"name": "x.example", "type": "AXFR", "value": ""},
        {"name": "", "type": "A", "value": "127.0.0.1"},
        {"name": "a" * 64 + ".example", "type": "A", "value": "127.0.0.1"},
        {"type": "A"},
        "A",
    ],
)
def test_a_record_that_is_none_is_refused_and_nothing_published(internet: Settings, record: object) -> None:
    good = {"name": "y.example", "type": "A", "value": "127.0.0.1"}
    with pytest.raises(client.ControlError, match="is no record"):
        client.publish(internet, [good, record])  # type: ignore[list-item]  # that is the point
    assert client.published(internet) == []


def test_names_can_be_made_to_misbehave(internet: Settings, resolver: dns.resolver.Resolver) -> None:
    client.publish(
        internet, [{"name": "late.example", "type": "TIMEOUT"}, {"name": "sick.example", "type": "SERVFAIL"}]
    )
    for name in ("servfail.example", "_dmarc.servfail.example", "sick.example"):
        with pytest.raises(dns.resolver.NoNameservers):
            resolver.resolve(name, "TXT")
    resolver.lifetime = 0.5
    for name in ("timeout.example", "www.late.example"):
        with pytest.raises(dns.resolver.LifetimeTimeout):
            resolver.resolve(name, "A")


def test_what_does_not_fit_a_datagram_comes_over_tcp(internet: Settings) -> None:
    client.publish(internet, [{"name": "x.example", "type": "TXT", "value": "y" * 3000}])
    query = dns.message.make_query("x.example", "TXT")
    ((host, port),) = internet.nameservers
    short = dns.query.udp(query, host, 60, port=port)
    assert short.flags & dns.flags.TC
    assert not short.answer
    whole = dns.query.tcp(query, host, 60, port=port)
    assert len(whole.answer) == 1


def test_a_circle_of_aliases_ends(internet: Settings, resolver: dns.resolver.Resolver) -> None:
    circle = [("a.example", "b.example"), ("b.example", "a.example")]
    client.publish(internet, [{"name": name, "type": "CNAME", "value": target} for name, target in circle])
    with pytest.raises(dns.resolver.NoNameservers):
        resolver.resolve("a.example", "A")


def test_garbage_gets_no_answer_and_does_no_harm(internet: Settings, resolver: dns.resolver.Resolver) -> None:
    ((host, port),) = internet.nameservers
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for garbage in (b"", b"x", b"\xff" * 600, bytes(12), b"\0" * 11 + b"\1" + b"\xc0\x0c" * 20):
            sender.sendto(garbage, (host, port))
    assert texts(resolver, "gmail.example")


def test_published_records_outlive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "zones.json"
    Zones(path, "mail.thurn.example").publish([Record.of("x.example", "A", "127.0.0.1")])
    again = Zones(path, "mail.thurn.example")
    assert again.resolve("X.example.", "A").records == (Record("x.example", "A", "127.0.0.1"),)
    query = dns.message.make_query("x.example", "A").to_wire()
    reply = answer(again, query, udp=True)
    assert reply is not None
    assert dns.message.from_wire(reply).rcode() == dns.rcode.NOERROR
    assert answer(again, reply, udp=True) is None  # an answer is no question
