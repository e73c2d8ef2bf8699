"""DMARC and TLS reports, as they should be and as others send them; hostile ones are refused for the right reason."""

import base64
import json
import tracemalloc
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from tests.feedback.reportworld import FAILURE, aggregate, mail, packed, record, tls, zipped
from thurn.dmarc.senders import OWN, in_words, organisational, sender_of, source_name
from thurn.feedback.archive import EXPANDED
from thurn.feedback.dmarc_report import Aggregate
from thurn.feedback.failure_report import FailureReport
from thurn.feedback.reports import believable, proven
from thurn.feedback.reports_read import read
from thurn.feedback.tls_report import TlsReport

CORPORA = Path(__file__).parents[3] / "shared" / "corpora"  # stands beside the checkout, where it is


def only(raw: bytes) -> Any:
    (reading,) = read(raw)
    assert reading.report is not None, reading.why
    return reading.report


def refused(raw: bytes) -> str:
    (reading,) = read(raw)
    assert reading.report is None
    return reading.why


def test_a_report_says_who_sent_how_much_and_what_passed():
    report = only(
        aggregate(record(dkim="brotzeit.example", aligned="dkim"), record("2001:db8::1", 2, override="forwarded"))
    )
    assert isinstance(report, Aggregate)
    assert (report.org, report.report_id, report.domain) == ("receiver.example", "r1", "brotzeit.example")
    assert (report.begins.isoformat(), report.ends.isoformat()) == (
        "2025-11-24T00:00:00+00:00",
        "2025-11-24T23:59:59+00:00",
    )
    assert report.policy == {"p": "none", "sp": "none", "adkim": "r", "aspf": "r", "pct": "100"}
    first, second = report.rows
    assert (first.source, first.count, first.dkim, first.spf, first.passed) == ("203.0.113.9", 3, True, False, True)
    assert asdict(first.signatures[0]) == {"domain": "brotzeit.example", "selector": "s1", "result": "pass"}
    assert (second.source, second.overrides, second.passed) == ("2001:db8::1", ("forwarded",), False)
    assert (report.mails, report.passed) == (5, 3)


XML = aggregate()


@pytest.mark.parametrize(
    "raw",
    [
        XML,
        b"\xef\xbb\xbf" + XML,
        packed(XML),
        zipped(("a.xml", XML)),
        zipped(("a.xml.gz", packed(XML))),
        base64.b64encode(packed(XML)),
        base64.encodebytes(zipped(("a.xml", XML))),
        mail(packed(XML)),
        mail(packed(XML), "application/octet-stream"),
        mail(packed(XML), "text/plain"),
        mail(zipped(("a.xml", XML)), "application/zip"),
        mail(XML, "text/xml"),
        mail(base64.b64encode(packed(XML))),
        packed(XML)[:-9],  # cut off before its checksum, all of it is there
        aggregate(root='<n:feedback xmlns:n="urn:x">').replace(b"</feedback>", b"</n:feedback>"),
        XML.decode().replace('version="1.0"', 'version="1.0" encoding="UTF-16"').encode("utf-16"),
    ],
)  # fmt: skip
def test_a_report_is_read_in_whatever_it_is_packed(raw: bytes):
    assert only(raw).report_id == "r1"


def test_each_document_of_an_archive_is_read_or_refused_by_itself():
    found = read(zipped(("a.xml", XML), ("b.json", tls()), ("c.txt", b"hello"), ("d.xml", b"")))
    assert [type(each.report).__name__ for each in found] == ["Aggregate", "TlsReport", "NoneType", "NoneType"]
    assert "neither XML" in found[2].why
    assert found[3].why == "It is empty."


def test_what_has_one_sensible_meaning_is_taken():
    strange = XML.replace(b"<email>dmarc@receiver.example</email>", b"<email>x@y.example</email>")
    strange = strange.replace(b"<org_name>receiver.example</org_name>", b"<org_name></org_name>")
    strange = strange.replace(b"<disposition>none", b"<disposition>pass").replace(b"<dkim>fail", b"<dkim>FAIL")
    strange = strange.replace(b"<domain>brotzeit.example</domain>", b"<domain> BROTZEIT.example. </domain>")
    report = only(strange.replace(b"brotzeit.example</header_from>", b"Anna@b\xffz.example</header_from>"))
    assert (report.org, report.domain) == ("y.example", "brotzeit.example")
    assert (report.rows[0].disposition, report.rows[0].header_from) == ("none", "b\ufffdz.example")


@pytest.mark.parametrize(
    "row",
    [record("none"), record("300.1.1.1"), record(count=0), record(count=-5), record(count=10**15), "<record/>"],
)
def test_a_row_without_an_address_or_a_number_is_passed_over_and_counted(row: str):
    report = only(aggregate(row, record()))
    assert (len(report.rows), report.skipped) == (1, 1)


ENTITIES = '<!DOCTYPE feedback [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'
OUTSIDE = '<!DOCTYPE feedback [<!ENTITY x SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (aggregate(prolog=ENTITIES, org="&b;"), "document type"),
        (aggregate(prolog=OUTSIDE, org="&x;"), "document type"),
        (aggregate(prolog='<!DOCTYPE feedback SYSTEM "http://x.example/x.dtd">'), "document type"),
        (aggregate("<a>" * 50 + "</a>" * 50), "nested deeper"),
        (b"<feedback>", "no well-formed XML: no element found in line 1"),
        (aggregate(org="<x@y>"), "no well-formed XML"),
        (b"<html><body>no</body></html>", "first element is not"),
        (b"<?xml version='1.0' encoding='klingon'?><feedback/>", "encoding nobody knows"),
        (aggregate(domain=""), "which domain"),
        (aggregate(domain="../../etc"), "which domain"),
        (aggregate(report_id=""), "no number"),
        (XML.replace(b"<begin>1763", b"<begin>1863"), "ends before it begins"),
        (XML.replace(b"<begin>", b"<begin>x"), "when it begins"),
        (XML.replace(b"<end>", b"<end>999"), "when it ends"),
        (packed(b"\0" * (EXPANDED + 1)), "built to fill a disk"),
        (packed(packed(packed(XML))), "archive in an archive"),
        (zipped(("a", packed(zipped(("b", XML))))), "archive in an archive"),
        (zipped(*[(f"{n}.xml", b"\0" * (EXPANDED // 10)) for n in range(12)]), "built to fill a disk"),
        (zipped(*[(f"{n}.xml", XML) for n in range(30)]), "more than 20 documents"),
        (zipped(("a.xml", XML), method=zipfile.ZIP_LZMA), "only deflate is"),
        (zipped(("a.xml", XML))[:-30], "damaged or was cut off"),
        (b"\x1f\x8b" + b"\xff" * 40, "damaged"),
        (mail(b"hello", "text/plain"), "no report in it"),
        (mail(packed(b"\0" * (EXPANDED + 1))), "built to fill a disk"),
        (b"", "It is empty."),
        (b"hello", "neither XML"),
        (b"[" * 100_000, "no JSON"),
        (b'{"policies": 1}', "names no policies"),
        (b'{"policies": [null, {"policy": []}]}', "which domain"),
        (tls(**{"report-id": None}), "no number"),
        (tls(**{"date-range": {"start-datetime": "yesterday"}}), "when it starts"),
        (tls(**{"date-range": {"start-datetime": "0001-01-01T00:00:00+14:00"}}), "when it starts"),
        (FAILURE.replace(b"brotzeit.example", b"").replace(b"evil.example", b""), "which domain"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_for_its_reason(raw: bytes, why: str):
    assert why in refused(raw)


def test_a_locked_archive_is_refused():
    locked = bytearray(zipped(("a.xml", XML)))
    for start in (locked.find(b"PK\x03\x04") + 6, locked.find(b"PK\x01\x02") + 8):
        locked[start] |= 1
    assert "locked with a password" in refused(bytes(locked))


def test_a_bomb_costs_little_memory():
    bomb = zipped(("a.xml", b" " * (EXPANDED + 1)))
    tracemalloc.start()
    refused(bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * EXPANDED


def test_a_thousand_signatures_of_one_row_are_twenty():
    many = record().replace("<auth_results>", "<auth_results>" + "<dkim><domain>a.example</domain></dkim>" * 1000)
    assert len(only(aggregate(many)).rows[0].signatures) == 20


def test_a_tls_report_says_what_failed_where():
    report = only(packed(tls()))
    assert isinstance(report, TlsReport)
    assert (report.domain, report.policies[0].good, report.policies[0].bad) == ("brotzeit.example", 98, 2)
    (failure,) = report.policies[0].failures
    assert (failure.result, failure.count, failure.mx) == ("certificate-expired", 2, "mail.thurn.example")


def test_nonsense_inside_a_tls_report_becomes_nothing():
    policy = {"policy": {"policy-type": 5, "policy-domain": "a.example"},
              "summary": {"total-failure-session-count": -1},
              "failure-details": [None, {"result-type": "<b>", "failed-session-count": True}]}  # fmt: skip
    report = only(tls(policies=[policy, {"policy": {"policy-domain": "other.example"}}]))
    assert (len(report.policies), report.policies[0].kind, report.policies[0].bad) == (1, "no-policy-found", 0)
    assert [(each.result, each.count) for each in report.policies[0].failures] == [("unknown", 0)]


def test_a_failure_report_keeps_nothing_that_names_a_person():
    report = only(FAILURE)
    assert isinstance(report, FailureReport)
    assert (report.domain, report.source, report.failed, report.done) == (
        "brotzeit.example", "203.0.113.66", "dmarc", "reject"
    )  # fmt: skip
    assert (report.header_from, report.dkim_domain) == ("brotzeit.example", "evil.example")
    kept = json.dumps(asdict(report))
    assert not any(word in kept for word in ("resi", "anna", "Anna", "private"))


SHORT = st.binary(max_size=300)


@given(
    st.binary(max_size=2000)
    | SHORT.map(packed)
    | SHORT.map(lambda data: zipped(("x", data)))
    | SHORT.map(lambda data: aggregate().replace(b"record>", data))
)
@profile(max_examples=150, deadline=None)
def test_any_bytes_give_an_answer(raw: bytes):
    assert read(raw)


@given(st.data())
@profile(max_examples=100, deadline=None)
def test_a_report_with_bytes_changed_gives_an_answer(data: st.DataObject):
    original = data.draw(
        st.sampled_from([aggregate(), tls(), packed(aggregate()), zipped(("a", tls())), mail(XML), FAILURE])
    )
    raw = bytearray(original)
    for _ in range(data.draw(st.integers(1, 5))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    assert read(bytes(raw))


BROKEN = {"invalid_xml.xml": "no well-formed XML"}


def test_every_sample_of_the_corpus_is_read_or_refused_for_the_right_reason():
    for path in [*CORPORA.glob("dmarc/*"), *CORPORA.glob("tlsrpt/*")]:
        for reading in read(path.read_bytes(), path.name):
            if path.name in BROKEN:
                assert BROKEN[path.name] in reading.why
            else:
                assert reading.report is not None, (path.name, reading.why)


# ---------------------------------------------------------------- who sent it, and who says so


def sender(**row: Any) -> str:
    (read_row,) = only(aggregate(record(**row))).rows
    return sender_of(
        read_row, selectors=frozenset({"t2511r"}), bounce_host="bounce.brotzeit.example", domain="brotzeit.example",
        own=("198.51.100.1",),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"dkim": "brotzeit.example", "selector": "t2511r"}, OWN),
        ({"dkim": "evil.example", "selector": "t2511r"}, ""),
        ({"spf": "bounce.brotzeit.example"}, OWN),
        ({"ip": "198.51.100.1"}, OWN),
        ({"dkim": "brotzeit-com.20230601.gappssmtp.com"}, "google"),
        ({"spf": "eu-west-1.amazonses.com"}, "ses"),
        ({"spf": "notamazonses.com"}, ""),
        ({"spf": "mail42.suw11.mcsv.net"}, "mailchimp"),
        ({}, ""),
    ],
)
def test_a_sender_is_told_by_what_its_mail_passes(row: dict[str, Any], name: str):
    assert sender(**row) == name


def test_a_failing_signature_names_nobody():
    row = record(dkim="amazonses.com").replace("<result>pass", "<result>fail")
    (read_row,) = only(aggregate(row)).rows
    assert sender_of(read_row, selectors=frozenset(), bounce_host="b.example", domain="d.example") == ""


@pytest.mark.parametrize(
    ("given", "grouped", "shown"),
    [
        (("ses", "evil.example", "192.0.2.7"), "ses", "Amazon SES"),
        (("", "outlook.com", "192.0.2.7"), "microsoft", "Microsoft 365 or Outlook"),
        (("", "printer.example", "192.0.2.7"), "printer.example", "printer.example"),
        (("", "", "192.0.2.7"), "192.0.2.0/24", "192.0.2.0/24"),
        (("", "", "2001:db8:1:2::3"), "2001:db8:1::/48", "2001:db8:1::/48"),
        ((OWN, "", "192.0.2.7"), OWN, "This server"),
    ],
)
def test_sources_are_grouped_by_who_runs_them(given: tuple[str, str, str], grouped: str, shown: str):
    assert source_name(*given) == grouped
    assert in_words(grouped) == shown


@pytest.mark.parametrize(
    ("name", "domain"),
    [("a.b.brotzeit.example", "brotzeit.example"), ("a.b.co.uk", "b.co.uk"), ("localhost", "localhost"), ("", "")],
)
def test_the_organisational_domain_follows_the_public_suffix_list(name: str, domain: str):
    assert organisational(name) == domain


@pytest.mark.parametrize(
    ("proof", "domain"),
    [
        ("dmarc=pass (policy=none) header.from=google.com; dkim=pass header.d=x.example", "google.com"),
        ("dkim=pass header.d=Yahoo.com header.s=s; dmarc=none", "yahoo.com"),
        ("dkim=fail header.d=yahoo.com; spf=pass smtp.mailfrom=evil.example", "evil.example"),
        ("dkim=fail header.d=yahoo.com; spf=pass (h: domain of a@b.example) smtp.mailfrom=a@b.example", "b.example"),
        ("dkim=fail header.d=yahoo.com; spf=softfail smtp.mailfrom=evil.example; spf=pass smtp.helo=x.example", ""),
        ("dmarc=fail header.from=google.com; x=dmarc", ""),
        ('dkim=none; spf=pass smtp.mailfrom="x; dmarc=pass header.from=google.com"@evil.example', "evil.example"),
        (r'spf=none smtp.mailfrom="\"x\\" ; dmarc=pass header.from=google.com\"@evil.example"', ""),
        ('spf=pass (h: domain of "x); dmarc=pass header.from=google.com; (y@evil.example" designates 1)', ""),
        ("spf=none (x; dmarc=pass header.from=google.com) smtp.mailfrom=evil.example", ""),
        ('spf=pass smtp.mailfrom="x; dmarc=pass header.from=google.com', ""),
        ("", ""),
    ],
)
def test_who_sent_a_report_is_what_our_own_server_found(proof: str, domain: str):
    forged = b"Authentication-Results: mail.thurn.example; dmarc=pass header.from=google.com\r\n"
    head = b"Authentication-Results: mail.thurn.example; none\r\n" if not proof else b""
    assert proven(head + mail(XML, proof=proof).replace(b"Subject:", forged + b"Subject:")) == domain


@pytest.mark.parametrize(
    ("submitter", "org", "contact", "believed"),
    [
        ("google.com", "google.com", "noreply-dmarc-support@google.com", True),
        ("dmarc.yahoo.com", "Yahoo", "dmarchelp@yahooinc.com", True),
        ("microsoft.com", "Outlook.com", "dmarcreport@microsoft.com", True),
        ("evil.example", "google.com", "noreply@google.com", False),
        ("", "google.com", "noreply@google.com", False),
        ("upload", "anybody", "", True),
    ],
)
def test_a_report_counts_only_if_its_sender_fits(submitter: str, org: str, contact: str, believed: bool):
    assert believable(submitter, org, contact) is believed
