"""What DNS should say about a domain: one model for pages, zone file, checks and the simulated internet. Pure.

A record knows why it is there. Whether an answer from DNS is right is judged in verdicts.py.
"""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from thurn.settings import Settings

Kind = Literal["mx", "spf", "dkim", "dmarc", "bounce-mx", "bounce-spf", "address", "ptr"]
TTL = 3600
LONGEST_STRING = 255  # octets in one string of a TXT record (RFC 1035, 3.3)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The half of a DKIM key that DNS tells: `public` is the p= tag."""

    selector: str
    algorithm: str  # rsa-sha256 | ed25519-sha256
    public: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What the records of a domain follow from. `addresses`: of this server, empty when Thurn cannot know them."""

    name: str
    bounce_host: str
    keys: tuple[PublicKey, ...]
    hostname: str
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Record:
    """One record to publish. `values` is empty where only the operator knows it.

    TXT values are whole, unquoted; MX values are `10 mail.example`. `required`: campaigns need it.
    """

    kind: Kind
    name: str
    type: str
    values: tuple[str, ...]
    purpose: str
    why: str
    required: bool = False
    ttl: int = TTL

    def as_json(self) -> dict[str, Any]:
        """For programs: one object with the first value, as there is one per record here."""
        return {"name": self.name, "type": self.type, "value": self.values[0] if self.values else "",
                "ttl": self.ttl, "purpose": self.purpose, "required": self.required}  # fmt: skip


def server_addresses(settings: Settings) -> tuple[str, ...]:
    """Addresses mail leaves from, as far as the settings tell."""
    if settings.simulate:
        return ("127.0.0.1",)
    try:
        address = ipaddress.ip_address(settings.listen)
    except ValueError:
        return ()
    return (str(address),) if address.is_global else ()


def facts(domain: Mapping[str, Any], settings: Settings) -> Facts:
    """From a row of `service.get_domain` and the settings."""
    return Facts(
        name=domain["name"],
        bounce_host=domain["bounce_host"],
        keys=tuple(PublicKey(k["selector"], k["algorithm"], k["public_key"]) for k in domain["keys"]),
        hostname=settings.hostname.lower().rstrip("."),
        addresses=server_addresses(settings),
    )


def records(of: Facts) -> list[Record]:
    """Every record of a domain, what campaigns need first."""
    return [*_sending(of), *_bounces(of), *_receiving(of), *server_records(of.hostname, of.addresses)]


def _sending(of: Facts) -> Iterable[Record]:
    yield Record(
        "spf", of.name, "TXT", (f"v=spf1 a:{of.hostname} ~all",), "SPF",
        "Names the servers that may send for you. Without it, mail looks forged.", required=True,
    )  # fmt: skip
    for key in of.keys:
        short = key.algorithm.partition("-")[0]
        note = "Older receivers know only this one." if short == "rsa" else "A second, short signature, Ed25519."
        yield Record(
            "dkim", f"{key.selector}._domainkey.{of.name}", "TXT", (f"v=DKIM1; k={short}; p={key.public}",),
            f"DKIM key {key.selector}",
            f"Receivers use this key to see that a mail is really yours and was not changed. {note}", required=True,
        )  # fmt: skip
    yield Record(
        "dmarc", f"_dmarc.{of.name}", "TXT", (f"v=DMARC1; p=none; rua=mailto:dmarc@{of.bounce_host}",), "DMARC",
        "Tells receivers what to do with mail that only pretends to be yours. Gmail, Yahoo and Microsoft require it "
        "from everyone who sends in bulk. This one only watches; you can tighten it later.", required=True,
    )  # fmt: skip


def _bounces(of: Facts) -> Iterable[Record]:
    yield Record(
        "bounce-mx", of.bounce_host, "MX", (f"10 {of.hostname}",), "Bounce host",
        "Mail that could not be delivered and complaints come back to this name, so that Thurn stops writing to dead "
        "addresses.", required=True,
    )  # fmt: skip
    yield Record(
        "bounce-spf", of.bounce_host, "TXT", (f"v=spf1 a:{of.hostname} -all",), "Bounce host SPF",
        "The envelope of every campaign mail carries this name; receivers look here whether this server may send it.",
        required=True,
    )  # fmt: skip


def _receiving(of: Facts) -> Iterable[Record]:
    yield Record(
        "mx", of.name, "MX", (f"10 {of.hostname}",), "MX",
        "Says that mail for your mailboxes goes to this server. Campaigns work without it.",
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


def text_strings(value: str) -> str:
    """A TXT value as zone files and some panels want it: quoted, in strings of at most 255 octets."""
    escaped = [value[i : i + LONGEST_STRING] for i in range(0, len(value), LONGEST_STRING)] or [""]
    return " ".join('"' + part.replace("\\", "\\\\").replace('"', '\\"') + '"' for part in escaped)


def zone_file(of: Facts, wanted: Iterable[Record]) -> str:
    """The records in the format of RFC 1035, 5, each with its reason; what belongs into other zones as a comment."""
    lines = [f"; Records of {of.name} for mail by Thurn.", f"$TTL {TTL}"]
    for record in wanted:
        ours = record.name == of.name or record.name.endswith(f".{of.name}")
        lines += ["", f"; {record.purpose}: {record.why}"]
        if not record.values:
            lines.append(f"; {record.name}. IN {record.type} (the address of this server)")
        for value in record.values:
            lines.append(f"{'' if ours else '; '}{record.name}. {record.ttl} IN {record.type} {_data(record, value)}")
    return "\n".join(lines) + "\n"


def _data(record: Record, value: str) -> str:
    if record.type == "TXT":
        return text_strings(value)
    return f"{value}." if record.type in ("MX", "PTR") else value
