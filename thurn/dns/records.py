"""What DNS should say about a domain: one model for pages, zone file, checks and publishing. Pure.

A record knows why it is there. Whether an answer from DNS is right is judged in verdicts.py.
"""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from thurn.dns.mta_sts import policy, policy_id

Kind = Literal[
    "spf", "dkim", "dkim-next", "dkim-old", "dmarc", "bounce-mx", "bounce-spf",
    "mx", "mta-sts", "mta-sts-host", "tls-rpt", "tlsa", "caa",
    "autoconfig", "srv", "no-srv", "tracking", "bimi", "webmail", "server-spf", "address", "ptr",
]  # fmt: skip
Theme = Literal["sending", "receiving", "encryption", "programs", "name", "server"]
TTL = 3600
LONGEST_STRING = 255  # octets in one string of a TXT record (RFC 1035, 3.3)
# Who issues our certificates (Caddy's first choice, and its second).
AUTHORITIES = ("letsencrypt.org", "sectigo.com")

THEMES: dict[Theme, str] = {
    "sending": "Campaigns and signatures",
    "receiving": "Mail for your mailboxes",
    "encryption": "Encryption on the way",
    "programs": "Mail programs set themselves up",
    "name": "Your name on the mail",
    "server": "This server",
}
_THEME_OF: dict[str, Theme] = {
    "mx": "receiving", "mta-sts": "encryption", "mta-sts-host": "encryption", "tls-rpt": "encryption",
    "tlsa": "encryption", "caa": "encryption", "autoconfig": "programs", "srv": "programs", "no-srv": "programs",
    "tracking": "name", "bimi": "name", "webmail": "server", "server-spf": "server", "address": "server",
    "ptr": "server",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The half of a DKIM key that DNS tells: `public` is the p= tag."""

    selector: str
    algorithm: str  # rsa-sha256 | ed25519-sha256
    public: str
    state: str = "active"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the records of a domain follow from. `addresses`: of this server, empty when Thurn cannot know them.

    `sent_from`: further addresses that its mail may leave from, of whatever machine.

    `tlsa`: SHA-256 of the public key that the mail server shows (hex), empty where it is not known.
    `tlsa_next`: of a renewed certificate that waits until DNS names its key.
    """

    name: str
    bounce_host: str
    keys: tuple[PublicKey, ...]
    hostname: str
    addresses: tuple[str, ...] = ()
    ports: Mapping[str, int] = field(default_factory=dict)
    mta_sts_mode: str = "none"
    tls_reports: bool = False
    dmarc_policy: str = "none"
    bimi_logo: str = ""
    tracking_host: str = ""
    tlsa: str = ""
    tlsa_next: str = ""
    webmail_host: str = ""
    sent_from: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Record:
    """One record to publish. `values` is empty where only the operator knows it.

    TXT values are whole, unquoted; MX values are `10 mail.example`; names have no dot at their end. `required`:
    campaigns need it.
    """

    kind: Kind
    name: str
    type: str
    values: tuple[str, ...]
    purpose: str
    why: str
    required: bool = False
    ttl: int = TTL

    @property
    def theme(self) -> Theme:
        """What it serves."""
        return _THEME_OF.get(self.kind, "sending")

    def as_json(self) -> dict[str, Any]:
        """For programs: one object with the first value, as there is one per record here."""
        return {"name": self.name, "type": self.type, "value": self.values[0] if self.values else "",
                "ttl": self.ttl, "purpose": self.purpose, "why": self.why, "required": self.required,
                "theme": self.theme}  # fmt: skip


def records(of: Facts) -> list[Record]:
    """Every record of a domain, what campaigns need first."""
    return [
        *_sending(of), *_bounces(of), *_receiving(of), *_encryption(of), *_programs(of), *_named(of),
        *_certificates(of), *_webmail(of), *_server_spf(of), *server_records(of.hostname, of.addresses),
    ]  # fmt: skip


def _sending(of: Facts) -> Iterable[Record]:
    yield Record(
        "spf", of.name, "TXT", (_spf(of, "~all"),), "SPF",
        "Names the servers that may send for you. Without it, mail looks forged.", required=True,
    )  # fmt: skip
    yield from (_dkim(of, key) for key in of.keys if key.state != "retired")
    yield Record(
        "dmarc", f"_dmarc.{of.name}", "TXT", (f"v=DMARC1; p={of.dmarc_policy}; rua=mailto:dmarc@{of.bounce_host}",),
        "DMARC", "Tells receivers what to do with mail that only pretends to be yours. Gmail, Yahoo and Microsoft "
        "require it from everyone who sends in bulk." + _DMARC[of.dmarc_policy], required=True,
    )  # fmt: skip


def _spf(of: Facts, end: str) -> str:
    further = [f"ip{ipaddress.ip_address(each).version}:{each}" for each in of.sent_from]
    return " ".join(["v=spf1", f"a:{of.hostname}", *further, end])


_DMARC = {
    "none": " This one only watches; you can tighten it later.",
    "quarantine": " This one sends forgeries to the spam folder.",
    "reject": " This one has forgeries refused.",
}


def _dkim(of: Facts, key: PublicKey) -> Record:
    short = key.algorithm.partition("-")[0]
    note = "Older receivers know only this one." if short == "rsa" else "A second, short signature, Ed25519."
    kind: Kind = "dkim"
    why = f"Receivers use this key to see that a mail is really yours and was not changed. {note}"
    if key.state in ("pending", "published"):
        kind = "dkim-next"
        why = "The next key. Thurn signs with it as soon as all name servers know it; until then the old one signs."
    elif key.state == "retiring":
        kind = "dkim-old"
        why = "Nothing new is signed with this key. Keep it until its days are over: mail on its way still needs it."
    return Record(
        kind, f"{key.selector}._domainkey.{of.name}", "TXT", (f"v=DKIM1; k={short}; p={key.public}",),
        f"DKIM key {key.selector}", why, required=kind == "dkim",
    )  # fmt: skip


def _bounces(of: Facts) -> Iterable[Record]:
    yield Record(
        "bounce-mx", of.bounce_host, "MX", (f"10 {of.hostname}",), "Bounce host",
        "Mail that could not be delivered and complaints come back to this name, so that Thurn stops writing to dead "
        "addresses.", required=True,
    )  # fmt: skip
    yield Record(
        "bounce-spf", of.bounce_host, "TXT", (_spf(of, "-all"),), "Bounce host SPF",
        "The envelope of every campaign mail carries this name; receivers look here whether this server may send it.",
        required=True,
    )  # fmt: skip


def _receiving(of: Facts) -> Iterable[Record]:
    yield Record(
        "mx", of.name, "MX", (f"10 {of.hostname}",), "MX",
        "Says that mail for your mailboxes goes to this server. Campaigns work without it.",
    )  # fmt: skip


def _encryption(of: Facts) -> Iterable[Record]:
    if of.mta_sts_mode != "none":
        which = "must encrypt" if of.mta_sts_mode == "enforce" else "should encrypt, and report when they cannot"
        yield Record(
            "mta-sts-host", f"mta-sts.{of.name}", "CNAME", (of.hostname,), "MTA-STS host",
            "Other mail servers fetch your encryption policy from this name. Thurn serves it and gets the certificate.",
        )  # fmt: skip
        text = policy(of.mta_sts_mode, [of.hostname])
        yield Record(
            "mta-sts", f"_mta-sts.{of.name}", "TXT", (f"v=STSv1; id={policy_id(text)}",), "MTA-STS",
            f"Says that others {which} when they send you mail. The id changes when your policy does.",
        )  # fmt: skip
    if of.tls_reports:
        yield Record(
            "tls-rpt", f"_smtp._tls.{of.name}", "TXT", (f"v=TLSRPTv1; rua=mailto:tlsrpt@{of.bounce_host}",),
            "TLS reporting",
            "Lets others tell you when they could not reach you encrypted. Nothing breaks without it, but you would "
            "not notice when it does.",
        )  # fmt: skip


_SERVICES = (  # RFC 6186 and 8314; the first are what programs should take
    ("_submissions._tcp", "submissions", 0, "sending"),
    ("_imaps._tcp", "imaps", 0, "reading"),
    ("_submission._tcp", "submission", 10, "sending by STARTTLS"),
    ("_pop3s._tcp", "pop3s", 10, "reading by POP3"),
    ("_sieve._tcp", "managesieve", 0, "filters"),
)


def _programs(of: Facts) -> Iterable[Record]:
    for host, whose in (("autoconfig", "Thunderbird and others ask"), ("autodiscover", "Outlook asks")):
        yield Record(
            "autoconfig", f"{host}.{of.name}", "CNAME", (of.hostname,), host.capitalize(),
            f"{whose} this name how to set up a mailbox: an address and a password are enough then.",
        )  # fmt: skip
    for label, service, priority, what in _SERVICES:
        if port := of.ports.get(service):
            yield Record(
                "srv", f"{label}.{of.name}", "SRV", (f"{priority} 1 {port} {of.hostname}",),
                f"SRV {label.partition('.')[0]}",
                f"Tells mail programs where the server for {what} is.",
            )  # fmt: skip
    if port := of.ports.get("https"):
        yield Record(
            "srv", f"_autodiscover._tcp.{of.name}", "SRV", (f"0 1 {port} {of.hostname}",), "SRV _autodiscover",
            "A second way for Outlook to find its settings.",
        )  # fmt: skip
    if of.ports:
        for label in ("_imap", "_pop3"):
            yield Record(
                "no-srv", f"{label}._tcp.{of.name}", "SRV", ("0 0 0 .",), f"SRV {label}",
                "Says that there is no door without encryption from the first byte on.",
            )  # fmt: skip


def _named(of: Facts) -> Iterable[Record]:
    if of.tracking_host:
        yield Record(
            "tracking", of.tracking_host, "CNAME", (of.hostname,), "Tracking host",
            "Links in campaigns carry this name of yours instead of the server's.",
        )  # fmt: skip
    if of.bimi_logo:
        yield Record(
            "bimi", f"default._bimi.{of.name}", "TXT", (f"v=BIMI1; l={of.bimi_logo}",), "BIMI",
            "Shows your logo beside the mail in some programs. Needs DMARC at quarantine or reject; Gmail and Apple "
            "also want a paid certificate for the logo.",
        )  # fmt: skip


def server_records(hostname: str, addresses: tuple[str, ...]) -> list[Record]:
    """What DNS says about the server itself. Advice: it is set up once, and PTR at whoever rents out the address."""
    why = "Others find this server by its name, and look at it when mail comes in from here."
    types = {address: "AAAA" if ":" in address else "A" for address in addresses}
    named = [Record("address", hostname, types[a], (a,), "Server name", why) for a in addresses]
    pointers = [
        Record(
            "ptr", ipaddress.ip_address(a).reverse_pointer, "PTR", (hostname,), "Reverse DNS",
            f"{a} should point back to this server's name; many receivers refuse mail from addresses without it. "
            "You set it where the server is rented, not in your domain.",
        )
        for a in addresses
    ]  # fmt: skip
    return [*(named or [Record("address", hostname, "A", (), "Server name", why)]), *pointers]


def _webmail(of: Facts) -> Iterable[Record]:
    if of.webmail_host:
        yield Record(
            "webmail", of.webmail_host, "CNAME", (of.hostname,), "Webmail host",
            "Webmail has a name for itself, so that nothing that comes in a mail can reach the pages on which mail and "
            "campaigns are managed. Without it nobody can open webmail.",
        )  # fmt: skip


def _server_spf(of: Facts) -> Iterable[Record]:
    if "." in of.hostname and of.hostname not in (of.name, of.bounce_host):  # those have one of their own
        yield Record(
            "server-spf", of.hostname, "TXT", ("v=spf1 a -all",), "Server SPF",
            "What mailboxes forward leaves under the name of this server, and so do its own notes. Receivers look here "
            "whether it may send them.",
        )  # fmt: skip


def _certificates(of: Facts) -> Iterable[Record]:
    yield Record(
        "caa", of.name, "CAA", (f'0 issue "{AUTHORITIES[0]}"',), "CAA",
        "Says who may issue certificates for your names. Without it, any authority may.",
    )  # fmt: skip
    if of.tlsa and "." in of.hostname:
        yield Record(
            "tlsa", f"_25._tcp.{of.hostname}", "TLSA",
            tuple(f"3 1 1 {key}" for key in (of.tlsa, of.tlsa_next) if key), "TLSA",
            "DANE: servers that look here accept only these keys. It means something only where the zone is signed "
            "with DNSSEC. Every two months a new certificate comes with a new key. Thurn shows it when this record has "
            "named it for two hours: where Thurn may publish, it does so by itself; else you have weeks to add it.",
        )  # fmt: skip


def text_strings(value: str) -> str:
    """A TXT value as zone files and some panels want it: quoted, in strings of at most 255 octets."""
    escaped = [value[i : i + LONGEST_STRING] for i in range(0, len(value), LONGEST_STRING)] or [""]
    return " ".join('"' + part.replace("\\", "\\\\").replace('"', '\\"') + '"' for part in escaped)


def below(name: str, domain: str) -> bool:
    """Whether a name belongs to a domain."""
    return name == domain or name.endswith(f".{domain}")


def zone_file(of: Facts, wanted: Iterable[Record]) -> str:
    """The records in the format of RFC 1035, 5, each with its reason; what belongs into other zones as a comment."""
    lines = [f"; Records of {of.name} for mail by Thurn.", f"$TTL {TTL}"]
    for record in wanted:
        # TLSA is a choice with consequences: nobody should import it unread.
        mark = "" if below(record.name, of.name) and record.kind != "tlsa" else "; "
        lines += ["", f"; {record.purpose}: {record.why}"]
        if not record.values:
            lines.append(f"; {record.name}. IN {record.type} (the address of this server)")
        lines += [f"{mark}{record.name}. {record.ttl} IN {record.type} {data(record.type, v)}" for v in record.values]
    return "\n".join(lines) + "\n"


def data(kind: str, value: str) -> str:
    """A value as zone files have it: text quoted, names with their final dot."""
    if kind == "TXT":
        return text_strings(value)
    named = kind in ("MX", "PTR", "CNAME", "SRV") and not value.endswith(".")
    return f"{value}." if named else value
