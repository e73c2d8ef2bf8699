"""Domain names and mailbox addresses as people type them, made into the one form that is stored. Pure."""

import ipaddress
import re

import idna

from thurn.problems import Invalid

# A domain's records lie below it; the longest prefix of ours is a DKIM selector's. RFC 1035, 2.3.4: 253 octets in all.
_ROOM_BELOW = len("t2611r._domainkey.")
LONGEST_DOMAIN = 253 - _ROOM_BELOW
LONGEST_LOCAL_PART = 64  # RFC 5321, 4.5.3.1.1
LONGEST_ADDRESS = 254  # RFC 5321, 4.5.3.1.3: a path holds 256 octets, two of them the angle brackets

# Narrower than RFC 5321's dot-atom, for what the daemons make of the rest: `/` would leave the mailbox's directory, `+`
# separates the detail, `%` and `!` are rewritten by Postfix as routes, a `-` in front reads as an option, and Dovecot
# takes no other characters in a user name (auth_username_chars).
_LOCAL_PART = re.compile(r"(?!-)[a-z0-9_-]+(\.[a-z0-9_-]+)*", re.ASCII)


def domain_name(text: str) -> str:
    """The domain in A-labels, lower case, without a final dot. Raises `Invalid` with the reason in words (RFC 5891)."""
    name = text.strip()
    if not name:
        raise Invalid("name", "Give the domain that mail is sent from, for example brotzeit.example.")
    if "@" in name:
        raise Invalid("name", "This is an address. Give only the part after the @.")
    if "/" in name or ":" in name:
        raise Invalid("name", "This is a web address. Give only the domain, for example brotzeit.example.")
    name = name.removesuffix(".")
    if _is_ip(name):
        raise Invalid("name", "This is an IP address. Mail needs a domain name, for example brotzeit.example.")
    if len(name) > LONGEST_DOMAIN:
        raise Invalid(
            "name", f"This name is too long: {LONGEST_DOMAIN} characters fit, with room for the records below it."
        )
    if any(len(label) > 63 for label in name.split(".")):
        raise Invalid("name", "A part between two dots is too long: 63 characters fit.")
    try:
        ascii_name = idna.encode(name, uts46=True).decode("ascii").lower()
    except (idna.IDNAError, UnicodeError) as error:
        raise Invalid(
            "name", "This is not a domain name: letters, digits and hyphens with dots between them."
        ) from error
    if len(ascii_name) > LONGEST_DOMAIN:
        raise Invalid("name", "This name is too long once it is written in ASCII, as DNS does.")
    labels = ascii_name.split(".")
    if len(labels) < 2 or labels[-1].isdigit():
        raise Invalid("name", "A domain has a dot and an ending, for example brotzeit.example.")
    if labels[0] == "bounce":
        raise Invalid("name", f"Thurn keeps {ascii_name} for mail that comes back. Add {'.'.join(labels[1:])} instead.")
    return ascii_name


def readable(name: str) -> str:
    """The domain as a person writes it: `xn--brtchen-b1a.example` is `brötchen.example`."""
    try:
        return idna.decode(name)
    except (idna.IDNAError, UnicodeError):
        return name


def bounce_host(name: str) -> str:
    """Domain of the envelope sender for mail from `name`: below it, so that SPF aligns (RFC 7489, 3.1.2)."""
    return f"bounce.{name}"


def split_address(text: str) -> tuple[str, str]:
    """Local part and domain of a new mailbox or alias, both in stored form. Raises `Invalid`."""
    local, at, domain = text.strip().rpartition("@")
    if not at or not local:
        raise Invalid("address", "An address has a name, an @ and a domain, for example anna@brotzeit.example.")
    local = local.lower()
    if len(local) > LONGEST_LOCAL_PART:
        raise Invalid("address", f"The part before the @ is too long: {LONGEST_LOCAL_PART} characters fit.")
    if "+" in local:
        raise Invalid("address", "A mailbox has no + in its name: mail to anna+shop@ arrives at anna@ by itself.")
    if not _LOCAL_PART.fullmatch(local):
        raise Invalid(
            "address",
            "Before the @ may stand letters from a to z, digits, and . _ - between them; nothing else.",
        )
    try:
        name = domain_name(domain)
    except Invalid as error:
        raise Invalid("address", error.message) from error
    if len(local) + 1 + len(name) > LONGEST_ADDRESS:
        raise Invalid("address", f"The address is too long: {LONGEST_ADDRESS} characters fit.")
    return local, name


def one_line(text: str) -> str:
    """Without what PostgreSQL cannot hold (NUL, lone surrogates) or a line cannot."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text.strip("[]").removeprefix("IPv6:"))
    except ValueError:
        return False
    return True


def typed(text: str, name: str) -> bool:
    """Whether somebody typed the name of what is to be destroyed; `Invalid` for another one."""
    if text.strip() and text.strip().lower() != name.lower():
        raise Invalid("destroy", f"Nothing was removed: “{one_line(text)}” was typed, not {name}.")
    return bool(text.strip())
