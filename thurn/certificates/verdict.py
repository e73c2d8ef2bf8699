"""What is to be said of a host's certificate. Pure."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from cryptography import x509
from cryptography.x509.oid import NameOID

from thurn.stack.certificates import fault

State = Literal["good", "soon", "bad", "self-signed", "unused"]
SOON = dt.timedelta(days=14)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One row of the table `certificate`, but for host, workspace and purpose."""

    state: State
    issuer: str = ""
    serial: str = ""
    not_after: dt.datetime | None = None
    used_by: tuple[str, ...] = ()
    problem: str = ""


UNUSED = Verdict("unused")
NO_WEBMAIL = Verdict(
    "bad",
    problem="Nobody can open webmail: in DNS its host does not lead to this server. Add the record “Webmail host”, "
    "shown with the records of each of your domains; the certificate follows by itself.",
)


def judge(
    host: str, shown: Mapping[str, x509.Certificate | None], now: dt.datetime, *, reason: str = "", wanted: bool = True
) -> Verdict:
    """`shown`: service -> the certificate a client gets there, None for no handshake. `reason`: why there is no better.

    `wanted`: certificates that people's programs trust are meant to be had; else a self-signed one is no fault.
    """
    faults = {service: _fault(certificate, host, now) for service, certificate in shown.items()}
    right = [service for service, why in faults.items() if not why]
    if not right:
        own = [c for c in shown.values() if c is not None and _self_signed(c)]
        if own and not wanted:
            return Verdict(
                "self-signed", "this server", _serial(own[0]), own[0].not_valid_after_utc, _users(shown, own[0]),
                "Mail programs warn about it, for nobody vouches for it. Give base_url an https address, and "
                "Thurn gets a certificate; or name one of your own in mail_certificate.",
            )  # fmt: skip
        return Verdict("bad", problem=_sentence(host, faults, reason))
    certificate = max((c for s in right if (c := shown[s])), key=lambda c: c.not_valid_after_utc)
    found = (issuer(certificate), _serial(certificate), certificate.not_valid_after_utc, _users(shown, certificate))
    if wrong := [service for service in faults if faults[service]]:
        return Verdict("bad", *found, _sentence(host, {s: faults[s] for s in wrong}, ""))
    left = certificate.not_valid_after_utc - now
    if left < min(SOON, (certificate.not_valid_after_utc - certificate.not_valid_before_utc) / 4):
        days = f"in {left.days} days" if left.days > 1 else f"in {int(left.total_seconds() // 3600)} hours"
        why = reason or "Nothing is written down about why. Is the role edge well? See its log."
        return Verdict(
            "soon",
            *found,
            f"It runs out {days}, on {certificate.not_valid_after_utc:%-d %B %Y}, and was not renewed. {why}",
        )
    return Verdict("good", *found)


def issuer(certificate: x509.Certificate) -> str:
    """Who gave it, as people know them."""
    names = [
        str(attribute.value)
        for oid in (NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME)
        for attribute in certificate.issuer.get_attributes_for_oid(oid)
    ]
    return " ".join(dict.fromkeys(names)) or "unknown"


def _fault(certificate: x509.Certificate | None, host: str, now: dt.datetime) -> str:
    if certificate is None:
        return "there is none"
    return "it is self-signed" if _self_signed(certificate) else fault(certificate, host, now)


def _self_signed(certificate: x509.Certificate) -> bool:
    return certificate.issuer == certificate.subject


_SERVICES = {"https": "Browsers", "imap": "Programs that read mail (IMAP)", "smtp": "Programs that send mail (SMTP)"}


def _sentence(host: str, faults: Mapping[str, str], reason: str) -> str:
    """Who gets what, and why."""
    who = " and ".join(_SERVICES.get(service, service) for service in faults)
    what = " / ".join(dict.fromkeys(faults.values()))
    why = reason or "If this stays for more than a few minutes, look into the logs of edge and keeper."
    return f"{who} get no valid certificate for {host}: {what}. {why}"


def _users(shown: Mapping[str, x509.Certificate | None], certificate: x509.Certificate) -> tuple[str, ...]:
    return tuple(s for s, c in shown.items() if c is not None and c.serial_number == certificate.serial_number)


def _serial(certificate: x509.Certificate) -> str:
    return f"{certificate.serial_number:x}"


def services(host: str, purpose: str, *, tls: bool, mail_host: str) -> Sequence[str]:
    """At which services a host shows a certificate."""
    mail = ["imap", "smtp"] if host == mail_host or (tls and purpose == "mail") else []
    return [*(["https"] if tls else []), *mail]
