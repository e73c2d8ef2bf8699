"""What is said of a certificate: in order, running out, broken, self-signed; and why, in words."""

import datetime as dt
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from thurn.certificates.reasons import explain, last_error
from thurn.certificates.verdict import judge, services

NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)
DAY = dt.timedelta(days=1)
HOST = "mail.x.example"


def certificate(*names: str, left: float = 60, life: float = 90, issuer: str = "An Authority") -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    end = NOW + left * DAY
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, issuer)] if issuer else
                               [x509.NameAttribute(NameOID.COMMON_NAME, names[0])]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - life * DAY)
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip


GOOD = certificate(HOST)
SELF = certificate(HOST, issuer="")


@pytest.mark.parametrize(
    ("shown", "state", "used_by"),
    [
        ({"https": GOOD, "imap": GOOD, "smtp": GOOD}, "good", ("https", "imap", "smtp")),
        ({"https": GOOD, "imap": GOOD, "smtp": SELF}, "bad", ("https", "imap")),
        ({"https": GOOD, "imap": certificate("other.example")}, "bad", ("https",)),
        ({"https": None}, "bad", ()),
        ({"https": SELF}, "bad", ()),
        ({"https": certificate(HOST, left=-1)}, "bad", ()),
        ({"https": certificate("*.x.example")}, "good", ("https",)),
        ({"https": certificate(HOST, left=13)}, "soon", ("https",)),
        ({"https": certificate(HOST, left=15)}, "good", ("https",)),
        # A certificate of six days is renewed two days before its end.
        ({"https": certificate(HOST, left=3, life=6)}, "good", ("https",)),
        ({"https": certificate(HOST, left=1, life=6)}, "soon", ("https",)),
    ],
)
def test_the_state_follows_from_what_clients_get(shown: dict[str, Any], state: str, used_by: tuple[str, ...]) -> None:
    verdict = judge(HOST, shown, NOW, reason="Because.")
    assert (verdict.state, verdict.used_by) == (state, used_by)
    assert bool(verdict.problem) == (state in ("bad", "soon")), "a problem has words, and nothing else has"


def test_what_is_wrong_is_said_with_its_reason() -> None:
    none = judge(HOST, {"https": None}, NOW, reason="The firewall.").problem
    assert none == f"Browsers get no valid certificate for {HOST}: there is none. The firewall."
    mail = judge(HOST, {"https": GOOD, "imap": SELF, "smtp": SELF}, NOW).problem
    assert "Programs that read mail (IMAP) and Programs that send mail (SMTP)" in mail
    assert "it is self-signed" in mail
    soon = judge(HOST, {"https": certificate(HOST, left=9.5)}, NOW, reason="The firewall.").problem
    assert soon.startswith("It runs out in 9 days, on ")
    assert soon.endswith("was not renewed. The firewall.")


def test_a_self_signed_one_is_no_fault_where_none_else_is_meant_to_be() -> None:
    verdict = judge(HOST, {"imap": SELF, "smtp": SELF}, NOW, wanted=False)
    assert (verdict.state, verdict.issuer, verdict.used_by) == ("self-signed", "this server", ("imap", "smtp"))
    assert "base_url" in verdict.problem


@pytest.mark.parametrize(
    ("host", "purpose", "tls", "found"),
    [
        (HOST, "mail", True, ["https", "imap", "smtp"]),
        (HOST, "web", True, ["https", "imap", "smtp"]),
        ("mail.domain.example", "mail", True, ["https", "imap", "smtp"]),
        ("mta-sts.domain.example", "mta-sts", True, ["https"]),
        (HOST, "mail", False, ["imap", "smtp"]),
    ],
)
def test_each_host_is_looked_at_where_it_is_used(host: str, purpose: str, tls: bool, found: list[str]) -> None:
    assert services(host, purpose, tls=tls, mail_host=HOST) == found


# Lines as Caddy 2.6.2 writes them.
REFUSED = (
    '{"level":"error","ts":1,"logger":"tls.obtain","msg":"could not get certificate from issuer","identifier":'
    '"mail.x.example","issuer":"acme-v02","error":"HTTP 403 urn:ietf:params:acme:error:unauthorized - 192.0.2.9: 404"}'
)
RETRY = (
    '{"level":"error","ts":2,"logger":"tls.obtain","msg":"will retry","error":"[mail.x.example] Obtain: '
    '[mail.x.example] solving challenge: urn:ietf:params:acme:error:connection - Timeout","attempt":1}'
)
OTHER = REFUSED.replace("mail.x.example", "mail.xx.example").replace("unauthorized", "caa")
LATER = (
    '{"level":"warn","ts":3,"logger":"tls","msg":"stapling OCSP","error":"no OCSP for [mail.x.example]","identifiers":'
    '["mail.x.example"]}'
)
VISITOR = (
    '{"level":"error","ts":4,"logger":"http.log.error","msg":"[mail.x.example]","error":"[mail.x.example] rateLimited"}'
)


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ([REFUSED], "AAAA record"),
        ([REFUSED, RETRY], "Ports 80 and 443"),
        ([RETRY, REFUSED], "AAAA record"),
        ([REFUSED, LATER, OTHER, VISITOR, "mail.x.example {", "\0", '["mail.x.example"]', ""], "AAAA record"),
        ([OTHER], ""),
        ([], ""),
        (
            [REFUSED.replace("403 urn:ietf:params:acme:error:unauthorized - 192.0.2.9: 404", "new")],
            "Caddy says: HTTP new",
        ),
    ],
)
def test_the_newest_reason_for_this_very_host_is_told_in_words(log: list[str], words: str) -> None:
    told = explain(last_error("\n".join(log), HOST))
    assert words in told
    assert bool(told) == bool(words)
