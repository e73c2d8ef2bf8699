"""What DNS should say, and every way of it saying something else."""

from dataclasses import replace

import dns.rdatatype
import dns.zone
import pytest
from dns.rdtypes.ANY.TXT import TXT

from thurn.dns import spf
from thurn.dns.facts import server_addresses
from thurn.dns.mta_sts import policy
from thurn.dns.records import Facts, PublicKey, Record, records, text_strings, zone_file
from thurn.dns.verdicts import Answers, Check, judge
from thurn.mailhost.keys import generate
from thurn.settings import Settings

RSA = generate("rsa-sha256").public
OTHER_RSA = generate("rsa-sha256").public
ED = generate("ed25519-sha256").public
HOST = "mail.thurn.example"
FACTS = Facts(
    "brotzeit.example", "bounce.brotzeit.example",
    (PublicKey("t2611r", "rsa-sha256", RSA), PublicKey("t2611e", "ed25519-sha256", ED)), HOST, ("203.0.113.5",),
    {"submissions": 465, "submission": 587, "imaps": 993, "pop3s": 995, "managesieve": 4190, "https": 443},
    "testing", True, "none", "https://brotzeit.example/logo.svg", "links.brotzeit.example", "ab" * 32,
)  # fmt: skip
RECORDS = {record.purpose: record for record in records(FACTS)}
SPF, RSA_KEY, ED_KEY, DMARC = (RECORDS[p] for p in ("SPF", "DKIM key t2611r", "DKIM key t2611e", "DMARC"))
BOUNCE, BOUNCE_SPF, MX, SERVER, PTR = (
    RECORDS[p] for p in ("Bounce host", "Bounce host SPF", "MX", "Server name", "Reverse DNS")
)
SERVER_SPF = RECORDS["Server SPF"]
FURTHER = ("192.0.2.77", "2001:db8::77")  # of another machine
MORE_SPF, MORE_BOUNCE_SPF = (
    record for record in records(replace(FACTS, sent_from=FURTHER)) if record.kind in ("spf", "bounce-spf")
)
STS, STS_HOST, TLS_RPT, TLSA, CAA, AUTOCONFIG, IMAPS, NO_IMAP, TRACKING, BIMI = (
    RECORDS[p] for p in (
        "MTA-STS", "MTA-STS host", "TLS reporting", "TLSA", "CAA", "Autoconfig", "SRV _imaps", "SRV _imap",
        "Tracking host", "BIMI",
    )
)  # fmt: skip
OURS = f"a:{HOST}"


def found(*values: str) -> Answers:
    return Answers("found", values)


NOTHING, NO_NAME = Answers("nothing"), Answers("no-name")
RSA_VALUE = f"v=DKIM1; k=rsa; p={RSA}"

# record, what DNS says, level, part of the sentence
RENEWED = replace(TLSA, values=(*TLSA.values, "3 1 1 " + "ef" * 32))
CASES: list[tuple[Record, Answers, str, str]] = [
    # SPF
    (SPF, found(f"v=spf1 {OURS} ~all"), "ok", "names this server"),
    (SPF, found("google-site-verification=x", f"v=spf1 include:_spf.x.example {OURS} -all"), "ok", ""),
    (SPF, found(f"V=SPF1 A:{HOST.upper()} -ALL"), "ok", ""),
    (SPF, found("v=spf1 mx ~all"), "ok", ""),
    (SPF, found(f"v=spf1 +{OURS} exp=why.brotzeit.example -all"), "ok", ""),
    (SPF, NOTHING, "bad", "missing"),
    (SPF, found("google-site-verification=x"), "bad", "missing"),
    (SPF, found(f"v=spf10 {OURS} ~all"), "bad", "missing"),
    (SPF, NO_NAME, "bad", "not in DNS at all"),
    (SPF, found("v=spf1 include:a.example -all", f"v=spf1 {OURS} -all"), "bad", "2 SPF records"),
    (SPF, found("v=spf1 include:_spf.google.com ~all"), "bad", "does not name this server"),
    (SPF, found("v=spf1"), "bad", "does not name"),
    (SPF, found(f"v=spf1 -all {OURS}"), "bad", "does not name"),
    (SPF, found(f"v=spf1 a:x{HOST} -all"), "bad", "does not name"),
    (SPF, found(f"v=spf1 -{OURS} ~all"), "bad", "may not send"),
    (SPF, found(f"v=spf1 {OURS} +all"), "bad", "everybody"),
    (SPF, found(f"v=spf1 {OURS} all"), "bad", "everybody"),
    (
        SPF,
        found("v=spf1 " + " ".join(f"include:s{n}.example" for n in range(10)) + f" {OURS} -all"),
        "bad",
        "10 look-ups",
    ),
    (SPF, found("v=spf1 " + " ".join(f"ip4:192.0.2.{n}" for n in range(30)) + f" {OURS} -all"), "ok", ""),
    (SPF, found(f"v=spf1 {OURS} ip4:192.0.2.1, ~all"), "bad", "“ip4:192.0.2.1,” is no address"),
    (SPF, found(f"v=spf1 {OURS} ip4:2001:db8::/32 ~all"), "bad", "no address"),
    (SPF, found(f"v=spf1 {OURS} ip6:2001:db8::/32 ip4:192.0.2.0/24 ~all"), "ok", ""),
    (SPF, found(f"v=spf1 {OURS}; ~all"), "bad", "does not name"),
    (SPF, found(f"v=spf1 {OURS} inclde:x.example ~all"), "bad", "“inclde:x.example” means nothing"),
    (SPF, found(f"v=spf1 {OURS} include: ~all"), "bad", "names nothing"),
    (SPF, found(f'"v=spf1 {OURS} ~all"'), "bad", "quotes"),
    (BOUNCE_SPF, found(f"v=spf1 {OURS} -all"), "ok", ""),
    (BOUNCE_SPF, NO_NAME, "bad", "Bounce host SPF is missing"),
    # SPF with addresses of further machines
    (MORE_SPF, found(f"v=spf1 {OURS} ip4:192.0.2.77 ip6:2001:db8::77 ~all"), "ok", ""),
    (MORE_SPF, found(f"v=spf1 ip6:2001:DB8:0::77 {OURS} +ip4:192.0.2.0/24 ~all"), "ok", ""),
    (MORE_SPF, found(f"v=spf1 {OURS} ~all"), "warn", "does not name 192.0.2.77, 2001:db8::77, from which"),
    (MORE_SPF, found(f"v=spf1 {OURS} ip4:192.0.2.77 ~all"), "warn", "does not name 2001:db8::77, from which"),
    (MORE_SPF, found(f"v=spf1 {OURS} ip4:192.0.2.76 ip6:2001:db8::/64 ~all"), "warn", "does not name 192.0.2.77,"),
    (MORE_SPF, found(f"v=spf1 {OURS} -ip4:192.0.2.77 ip6:2001:db8::/64 ~all"), "warn", "does not name 192.0.2.77,"),
    (MORE_SPF, found(f"v=spf1 {OURS} ip6:2001:db8::/64 ~all ip4:192.0.2.77"), "warn", "does not name 192.0.2.77,"),
    (MORE_SPF, found(f"v=spf1 {OURS} include:_spf.brotzeit.example ~all"), "warn", "does not name"),
    (MORE_SPF, found("v=spf1 ip4:192.0.2.77 ip6:2001:db8::77 ~all"), "bad", "does not name this server"),
    (MORE_BOUNCE_SPF, found(f"v=spf1 {OURS} -all"), "warn", "Bounce host SPF does not name"),
    # DKIM
    (RSA_KEY, found(RSA_VALUE), "ok", ""),
    (RSA_KEY, found(f"k=rsa;p={RSA[:100]} {RSA[100:]};"), "ok", ""),  # white space in p= is allowed
    (RSA_KEY, found(f"v=DKIM1; p={RSA}; s=email; t=s"), "ok", ""),  # k= defaults to rsa
    (ED_KEY, found(f"v=DKIM1; k=ed25519; p={ED}"), "ok", ""),
    (ED_KEY, found(f"v=DKIM1; p={ED}"), "bad", "wrong tag"),
    (RSA_KEY, found(f"v=DKIM1; k=ed25519; p={RSA}"), "bad", "wrong tag"),
    (RSA_KEY, found(f"v=DKIM2; k=rsa; p={RSA}"), "bad", "wrong tag"),
    (RSA_KEY, found(f"v=DKIM1; h=sha1; k=rsa; p={RSA}"), "bad", "wrong tag"),
    (RSA_KEY, found(f"v=DKIM1; k=rsa; t=y; p={RSA}"), "warn", "test"),
    (RSA_KEY, NOTHING, "bad", "missing"),
    (RSA_KEY, NO_NAME, "bad", "DKIM key t2611r is missing"),
    (RSA_KEY, found(RSA_VALUE[:255]), "bad", f"cut off; {len(RSA_VALUE) - 255} characters are missing"),
    (RSA_KEY, found(RSA_VALUE[:255], RSA_VALUE[255:]), "bad", "split over two records"),
    (RSA_KEY, found(*sorted([RSA_VALUE[255:], RSA_VALUE[:255]])), "bad", "split over two records"),
    (RSA_KEY, found(f"v=DKIM1; k=rsa; p={OTHER_RSA}"), "bad", "another key"),
    (RSA_KEY, found(RSA_VALUE, f"v=DKIM1; k=rsa; p={OTHER_RSA}"), "bad", "2 records under one name"),
    (RSA_KEY, found("v=DKIM1; k=rsa; p="), "bad", "revoked"),
    (RSA_KEY, found("v=DKIM1; k=rsa"), "bad", "not a DKIM key"),
    (RSA_KEY, found("hello"), "bad", "not a DKIM key"),
    (RSA_KEY, found(""), "bad", "not a DKIM key"),
    (RSA_KEY, found(f"v=DKIM1\\; k=rsa\\; p={RSA}"), "bad", "quotes or backslashes"),
    (RSA_KEY, found(f'"v=DKIM1; k=rsa; p={RSA[:200]}" "{RSA[200:]}"'), "bad", "quotes or backslashes"),
    # DMARC
    (DMARC, found("v=DMARC1; p=none"), "ok", ""),
    (DMARC, found("v=DMARC1;p=reject;adkim=s;rua=mailto:x@elsewhere.example"), "ok", ""),
    (DMARC, found("v=DMARC1; p=QUARANTINE; pct=5"), "ok", ""),
    (DMARC, NOTHING, "bad", "missing"),
    (DMARC, NO_NAME, "bad", "missing"),
    (DMARC, found("something else"), "bad", "missing"),
    (DMARC, found("v=DMARC1; rua=mailto:x@y.example"), "bad", "no valid policy"),
    (DMARC, found("v=DMARC1; p=block"), "bad", "no valid policy"),
    (DMARC, found("v=DMARC1; p=none; p=reject"), "bad", "no valid policy"),
    (DMARC, found("v=DMARC1; p=none", "v=DMARC1; p=reject"), "bad", "2 DMARC records"),
    (DMARC, found("v=DMARC1; p=none; aspf=s"), "warn", "very same name"),
    (DMARC, found('"v=DMARC1; p=none"'), "bad", "quotes"),
    # where bounces go
    (BOUNCE, found(f"10 {HOST}"), "ok", ""),
    (BOUNCE, found(f"0 {HOST.upper()}."), "ok", ""),
    (BOUNCE, NOTHING, "bad", "missing"),
    (BOUNCE, found("10 mx.elsewhere.example"), "bad", "goes to mx.elsewhere.example"),
    (BOUNCE, found(f"10 {HOST}", "20 mx.elsewhere.example"), "bad", "mx.elsewhere.example as well"),
    (BOUNCE, found("0 "), "bad", "takes no mail"),
    # where people's mail goes: advice, a campaign does not need it
    (MX, found(f"10 {HOST}"), "ok", ""),
    (MX, found(f"10 {HOST}", "20 backup.example"), "ok", ""),
    (MX, found(f"20 {HOST}", "10 old.example"), "warn", "old.example as well"),
    (MX, found("1 aspmx.l.google.com", "5 alt1.aspmx.l.google.com"), "warn", "goes to aspmx.l.google.com, alt1"),
    (MX, NOTHING, "warn", "missing"),
    # the server
    (SERVER, found("203.0.113.5"), "ok", ""),
    (SERVER, found("198.51.100.1", "203.0.113.5"), "ok", ""),
    (SERVER, found("198.51.100.1"), "warn", "not to this server"),
    (SERVER, NO_NAME, "warn", "no address"),
    (SERVER_SPF, found("v=spf1 a -all"), "ok", "may send"),
    (SERVER_SPF, found("x-verify=1", "V=SPF1 MX ~ALL"), "ok", ""),
    (SERVER_SPF, found(f"v=spf1 {OURS} ~all"), "ok", "may send"),
    (SERVER_SPF, found("v=spf1 ip4:203.0.113.5 -all"), "ok", "has an SPF record"),
    (SERVER_SPF, found("v=spf1 redirect=_spf.thurn.example"), "ok", "has an SPF record"),
    (SERVER_SPF, NOTHING, "warn", "Server SPF is missing"),
    (SERVER_SPF, found("v=spf1 -all"), "warn", "does not let this server send"),
    (SERVER_SPF, found("v=spf1 -a ip4:192.0.2.1 ~all"), "warn", "does not let this server send"),
    (SERVER_SPF, found("v=spf1 -ip4:203.0.113.5 ~all"), "warn", "does not let this server send"),
    (SERVER_SPF, found("v=spf1 a -all", "v=spf1 mx -all"), "warn", "2 SPF records"),
    (SERVER_SPF, found("v=spf1 ipv4:203.0.113.5 -all"), "warn", "means nothing"),
    (SERVER_SPF, found('"v=spf1 a -all"'), "warn", "quotes"),
    (PTR, found(HOST.upper() + "."), "ok", ""),
    (PTR, found("static-5.hoster.example"), "warn", "points to static-5.hoster.example"),
    (PTR, NO_NAME, "warn", "missing"),
    (PTR, Answers("found", (HOST,), ("203.0.113.5", "2001:db8::1")), "ok", ""),
    (PTR, Answers("found", (HOST,), ("198.51.100.1",)), "warn", "but that name leads to 198.51.100.1"),
    # encryption
    (STS, NOTHING, "warn", "missing"),
    (STS, found(*STS.values), "ok", ""),
    (STS, found(STS.values[0] + ";"), "ok", ""),
    (STS, found("v=STSv1; id=20240101;"), "warn", "older policy"),
    (STS, found("v=STSv1"), "warn", "no valid id"),
    (STS, found("v=STSv1; id=2024-01"), "warn", "no valid id"),
    (STS, found(STS.values[0], "v=STSv1; id=1"), "warn", "2 MTA-STS records"),
    (STS, found("other text"), "warn", "missing"),
    (STS, found(f'"{STS.values[0]}"'), "warn", "quotes"),
    (STS_HOST, found(HOST), "ok", "leads to this server"),
    (STS_HOST, found(HOST.upper() + "."), "ok", ""),
    (STS_HOST, Answers("found", ("203.0.113.5",), ("203.0.113.5",)), "ok", ""),
    (STS_HOST, Answers("found", ("198.51.100.1",), ("203.0.113.5",)), "bad", "leads to 198.51.100.1"),
    (STS_HOST, found("pages.elsewhere.example"), "bad", "leads to pages.elsewhere.example"),
    (STS_HOST, NO_NAME, "warn", "missing"),
    (TLS_RPT, found("v=TLSRPTv1; rua=https://reports.example/x"), "ok", ""),
    (TLS_RPT, found("v=TLSRPTv1;rua=mailto:a@b.example,mailto:c@d.example"), "ok", ""),
    (TLS_RPT, found("v=TLSRPTv1; rua=someone@b.example"), "warn", "no place for reports"),
    (TLS_RPT, found("v=TLSRPTv1"), "warn", "no place for reports"),
    (TLS_RPT, found("v=TLSRPTv1; rua=mailto:a@b.example", "v=TLSRPTv1; rua=mailto:c@b.example"), "warn", "2 TLS"),
    (TLS_RPT, NO_NAME, "warn", "missing"),
    (TLSA, found("3 1 1 " + "AB" * 32), "ok", ""),
    (TLSA, found("3 1 1 " + "cd" * 32, "3 1 1 " + "ab" * 32), "ok", ""),
    (TLSA, found("3 1 1 " + "cd" * 32), "bad", "another key"),
    (TLSA, NOTHING, "warn", "missing"),
    (
        RENEWED,
        found("3 1 1 " + "ab" * 32),
        "warn",
        "waits until TLSA",
    ),
    (RENEWED, found("3 1 1 " + "ef" * 32), "bad", "another key"),
    (
        RENEWED,
        found("3 1 1 " + "ab" * 32, "3 1 1 " + "EF" * 32),
        "ok",
        "",
    ),
    (CAA, found('0 issue "letsencrypt.org"'), "ok", ""),
    (CAA, found('0 issue "letsencrypt.org; validationmethods=http-01"', '0 iodef "mailto:a@b.example"'), "ok", ""),
    (CAA, found('0 iodef "mailto:a@b.example"'), "ok", ""),
    (CAA, found('0 issue "pki.goog"'), "bad", "lets pki.goog issue"),
    (CAA, found('0 issue ";"'), "bad", "lets nobody issue"),
    (CAA, found("0"), "ok", ""),
    (CAA, NOTHING, "warn", "missing"),
    # mail programs
    (AUTOCONFIG, found(HOST), "ok", ""),
    (AUTOCONFIG, found("autoconfig.elsewhere.example"), "warn", "not to this server"),
    (IMAPS, found(f"0 1 993 {HOST}"), "ok", ""),
    (IMAPS, found(f"10 5 993 {HOST}.", "20 5 993 backup.example"), "ok", ""),
    (IMAPS, found(f"0 1 143 {HOST}"), "warn", "another port than 993"),
    (IMAPS, found("0 1 993 imap.elsewhere.example"), "warn", "leads to imap.elsewhere.example"),
    (IMAPS, found("0 0 0 "), "warn", "no such service"),
    (IMAPS, NO_NAME, "warn", "missing"),
    (NO_IMAP, found("0 0 0 "), "ok", ""),
    (NO_IMAP, found("0 0 0 ."), "ok", ""),
    (NO_IMAP, found(f"0 1 143 {HOST}"), "warn", "has no such door"),
    # your name
    (TRACKING, found(HOST), "ok", ""),
    (TRACKING, found("cdn.example"), "warn", "leads to cdn.example"),
    (BIMI, found("v=BIMI1; l=https://brotzeit.example/logo.svg; a="), "ok", ""),
    (BIMI, found("v=BIMI1; l=https://brotzeit.example/old.svg"), "warn", "old.svg"),
    (BIMI, found("v=BIMI1; l="), "warn", "of nobody"),
    (BIMI, found("v=BIMI1; l=a", "v=BIMI1; l=b"), "warn", "several"),
    (BIMI, NOTHING, "warn", "missing"),
    # name servers that do not say the same
    (SPF, Answers("found", SPF.values, others=(("ns2", NO_NAME),)), "unknown", "ns2 has nothing"),
    (SPF, Answers("nothing", others=(("ns2", found(*SPF.values)),)), "unknown", f"ns2 has v=spf1 {OURS}"),
    (SPF, Answers("nothing", others=(("ns2", found("v=spf1 -all")),)), "bad", "not the same"),
]


@pytest.mark.parametrize(("record", "answers", "level", "says"), CASES)
def test_a_record_is_judged(record: Record, answers: Answers, level: str, says: str) -> None:
    check = judge(record, answers)
    assert check.level == level, check.what
    assert says in check.what
    assert check.what.endswith(".")
    if level != "ok":
        assert check.fix.endswith((".", '"'))
    assert Check.from_json(check.as_json()) == check


@pytest.mark.parametrize("record", records(FACTS))
@pytest.mark.parametrize("status", ["failed", "timeout"])
def test_what_dns_could_not_tell_is_never_broken(record: Record, status: str) -> None:
    check = judge(record, Answers(status))  # type: ignore[arg-type] # by table
    assert check.level == "unknown"
    assert "name servers" in check.what


@pytest.mark.parametrize("record", records(FACTS))
def test_what_we_tell_people_to_publish_is_right_in_our_own_eyes(record: Record) -> None:
    assert judge(record, Answers("found", record.values)).level == "ok"


@pytest.mark.parametrize(("record", "answers", "level", "says"), [case for case in CASES if case[2] == "bad"])
def test_following_the_advice_leads_to_green(record: Record, answers: Answers, level: str, says: str) -> None:
    check = judge(record, answers)
    if check.publish:
        assert judge(record, Answers("found", check.publish)).level == "ok"


def test_a_spf_record_that_forgets_us_is_mended_without_losing_the_others() -> None:
    check = judge(SPF, found("v=spf1 include:_spf.google.com ip4:192.0.2.1 -all", "v=spf1 mx ip4:192.0.2.1 ~all"))
    assert check.publish == (f"v=spf1 {OURS} include:_spf.google.com ip4:192.0.2.1 mx -all",)
    assert spf.merged(["v=spf1 +all"], OURS, "~all") == f"v=spf1 {OURS} ~all"
    assert spf.merged(["v=spf1 redirect=x.example"], OURS, "~all") == f"v=spf1 {OURS} redirect=x.example"


def test_a_policy_that_only_watches_is_fine_and_advised_on() -> None:
    assert "p=quarantine" in judge(DMARC, found("v=DMARC1; p=none")).fix
    assert judge(DMARC, found("v=DMARC1; p=reject")).fix == ""


def test_only_a_server_name_of_its_own_needs_its_own_spf_record() -> None:
    def names(**facts: str) -> list[str]:
        return [r.name for r in records(replace(FACTS, **facts)) if r.kind == "server-spf"]  # type: ignore[arg-type]

    assert names() == [HOST]
    assert names(hostname="brotzeit.example") == names(hostname="bounce.brotzeit.example") == []
    assert names(hostname="localhost") == []
    assert judge(SERVER_SPF, found("v=spf1 ip4:192.0.2.1 -a mx ~all", "v=spf1 -all")).publish == (
        "v=spf1 a ip4:192.0.2.1 mx ~all",
    )


def test_a_server_without_a_proper_name_is_told_so() -> None:
    (record,) = records(Facts("a.example", "bounce.a.example", (), "localhost"))[-1:]
    assert record.kind == "address"
    assert "localhost" in judge(record, NO_NAME).what
    assert "hostname" in judge(record, NO_NAME).fix


def test_a_server_name_that_leads_to_loopback_is_not_taken_for_an_address() -> None:
    (record,) = records(Facts("a.example", "bounce.a.example", (), HOST))[-1:]
    assert judge(record, found("127.0.1.1")).level == "warn"
    assert judge(record, found("203.0.113.5")).level == "ok"


@pytest.mark.parametrize(
    ("listen", "simulate", "expected"),
    [("127.0.0.1", False, ()), ("0.0.0.0", False, ()), ("8.8.8.8", False, ("8.8.8.8",)),  # noqa: S104 - not bound
     ("10.0.0.1", False, ()), ("mail.example", False, ()), ("127.0.0.1", True, ("127.0.0.1",))],
)  # fmt: skip
def test_the_server_knows_its_address_only_when_the_settings_tell(
    clean: Settings, listen: str, simulate: bool, expected: tuple[str, ...]
) -> None:
    settings = clean.model_copy(update={"listen": listen, "simulate": simulate})
    assert server_addresses(settings) == expected


def test_a_zone_file_is_read_by_another_program_and_says_the_same() -> None:
    text = zone_file(FACTS, records(FACTS))
    zone = dns.zone.from_text(text, origin="brotzeit.example.", relativize=False, check_origin=False)
    read = set()
    for name, _, data in zone.iterate_rdatas():
        kind = dns.rdatatype.to_text(data.rdtype)
        value = b"".join(data.strings).decode() if isinstance(data, TXT) else str(data)
        value = value if value == "0 0 0 ." else value.rstrip(".")
        read.add((str(name).rstrip("."), kind, value))
    expected = {(r.name, r.type, value) for r in records(FACTS) for value in r.values}
    elsewhere = {(r.name, r.type, r.values[0]) for r in (SERVER, SERVER_SPF, PTR, TLSA)}
    assert read == expected - elsewhere
    assert f"; {HOST}. " in text
    assert "; 5.113.0.203.in-addr.arpa. " in text
    assert max(len(line) for line in text.splitlines() if line.startswith(";")) < 400


def test_a_long_text_is_cut_into_strings_that_read_back() -> None:
    assert text_strings('a"b\\') == '"a\\"b\\\\"'
    parts = text_strings("x" * 600).split(" ")
    assert [len(part) - 2 for part in parts] == [255, 255, 90]


def test_a_key_that_is_to_follow_is_asked_for_and_one_that_went_is_not() -> None:
    keys = [PublicKey(f"s{n}", "ed25519-sha256", ED, state) for n, state in enumerate(
        ("pending", "published", "active", "retiring", "retired"))]  # fmt: skip
    found_records = [r for r in records(replace(FACTS, keys=tuple(keys))) if r.kind.startswith("dkim")]
    assert [(r.kind, r.required) for r in found_records] == [
        ("dkim-next", False), ("dkim-next", False), ("dkim", True), ("dkim-old", False),
    ]  # fmt: skip
    assert judge(found_records[0], NOTHING).word == "Missing"
    assert judge(found_records[3], found("v=DKIM1; k=ed25519; p=")).level == "bad"  # mail on its way needs it


def test_the_policy_that_is_chosen_is_asked_for_and_a_stricter_one_is_fine() -> None:
    (wanted,) = [r for r in records(replace(FACTS, dmarc_policy="quarantine")) if r.kind == "dmarc"]
    assert wanted.values[0].startswith("v=DMARC1; p=quarantine;")
    assert judge(wanted, found("v=DMARC1; p=none")).level == "warn"
    assert judge(wanted, found("v=DMARC1; p=reject")).level == "ok"


def test_the_announcement_changes_with_the_policy() -> None:
    def announced(mode: str) -> list[str]:
        return [r.values[0] for r in records(replace(FACTS, mta_sts_mode=mode)) if r.kind == "mta-sts"]

    assert announced("none") == []
    assert announced("testing") != announced("enforce")
    assert policy("enforce", [HOST]).split("\r\n") == [
        "version: STSv1", "mode: enforce", f"mx: {HOST}", "max_age: 604800", "",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("there", "better"),
    [
        ((), f"v=spf1 {OURS} ip4:192.0.2.77 ip6:2001:db8::77 ~all"),
        (("v=spf1 a -all",), f"v=spf1 {OURS} ip4:192.0.2.77 ip6:2001:db8::77 a -all"),
        ((f"v=spf1 mx ip4:192.0.2.0/24 {OURS} -all",), f"v=spf1 {OURS} ip6:2001:db8::77 mx ip4:192.0.2.0/24 -all"),
        (
            ("v=spf1 include:x.example ~all", "v=spf1 ip6:2001:db8::77 -all"),
            f"v=spf1 {OURS} ip4:192.0.2.77 ip6:2001:db8::77 include:x.example ~all",
        ),
    ],
)
def test_a_proposed_record_names_every_machine_and_keeps_what_was_said(there: tuple[str, ...], better: str) -> None:
    check = judge(MORE_SPF, found(*there) if there else NOTHING)
    assert check.publish == (better,)
    assert not spf.error(better)
    assert judge(MORE_SPF, found(better)).level == "ok"


def test_what_another_record_includes_may_name_it() -> None:
    check = judge(MORE_SPF, found(f"v=spf1 {OURS} include:_spf.brotzeit.example ~all"))
    assert "If something that it includes names them, all is well" in check.fix
    assert "includes" not in judge(MORE_SPF, found(f"v=spf1 {OURS} ~all")).fix
