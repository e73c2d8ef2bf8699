"""The book of providers."""

import re

import pytest

from thurn.delivery.providers import PROVIDERS, book, provider_of
from thurn.mail.tokens import VerpTokens


@pytest.mark.parametrize("name", PROVIDERS)
def test_each_entry_can_be_used_and_says_where_it_comes_from(name: str) -> None:
    entry = book()[name]
    assert re.fullmatch(r"[a-z]{1,9}", name)
    assert entry.title
    assert re.match(r"practice\b|this installation|https://", entry.source)
    assert 1 <= entry.limits.connections <= 200
    assert entry.limits.per_connection >= 1
    assert entry.limits.backoff >= 10
    assert all(re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", suffix) for suffix in entry.mx)
    if entry.mx:
        assert provider_of([f"mx1.{entry.mx[0]}."]) == name


@pytest.mark.parametrize(
    ("hosts", "provider"),
    [
        (["gmail-smtp-in.l.google.com.", "ALT1.gmail-smtp-in.l.GOOGLE.com"], "google"),
        (["smtp.google.com"], "google"),
        (["outlook-com.olc.protection.outlook.com"], "microsoft"),
        (["firma-de.mail.protection.outlook.com"], "office"),
        (["firma-de.r-v1.mx.microsoft"], "office"),
        (["mta7.am0.yahoodns.net"], "yahoo"),
        (["mx-aol.mail.gm0.yahoodns.net"], "yahoo"),
        (["mx00.t-online.de", "mx01.t-online.de"], "telekom"),
        (["mx00.kundenserver.de"], "ionos"),
        (["mxa-0012.gslb.pphosted.com"], "proofpt"),
        (["eu-smtp-inbound-1.mimecast.com"], "mimecast"),
        (["in1-smtp.messagingengine.com"], "fastmail"),
        (["mx1.ovh.net", "mx.small.example"], "other"),
        (["notgoogle.com"], "other"),
        (["google.com.evil.example"], "other"),
        (["mx.small.example"], "other"),
        ([""], "other"),
        ([], "other"),
    ],
)
def test_a_provider_is_who_runs_all_of_the_mx_hosts(hosts: list[str], provider: str) -> None:
    assert provider_of(hosts) == provider


def test_the_longest_names_fit_into_a_local_part() -> None:
    longest = max(PROVIDERS, key=len)
    local = VerpTokens(b"k" * 32).local_part("abcdefgh", longest, 2**40, 2**48)
    assert len(local) <= 64
