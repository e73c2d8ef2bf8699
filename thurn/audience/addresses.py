"""Addresses of contacts: which can be mailed, and the form we keep them in.

The ordinary address is recognised by one regular expression, a hundred times faster than a full check; everything else
goes to email-validator, which also says in words what is wrong.
"""

import re

from email_validator import EmailNotValidError, validate_email

from thurn.problems import Invalid

LONGEST = 254  # octets, RFC 5321 4.5.3.1.3 with the angle brackets taken off

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ORDINARY = re.compile(rf"(?=.{{3,{LONGEST}}}\Z)({_ATOM}(?:\.{_ATOM})*)@((?:{_LABEL}\.)+([A-Za-z]{{2,63}}))\Z")
# Names that are not on the internet (RFC 6761 and others): left to the full check, which explains.
_SPECIAL = frozenset({"arpa", "invalid", "local", "localhost", "onion", "alt", "internal"})


def clean(text: str) -> str:
    """The address as it is kept and mailed: trimmed, the domain in lower-case A-labels. `Invalid` says why not."""
    text = text.strip()
    ordinary = _ORDINARY.match(text)
    if ordinary:
        local, domain, top = ordinary.groups()
        # "--" in third place marks an A-label, which must be a valid one
        if len(local) <= 64 and top.lower() not in _SPECIAL and "--" not in domain:
            return f"{local}@{domain.lower()}"
    if not text:
        raise Invalid("email", "There is no address.")
    if len(text) > 1000:
        raise Invalid("email", f"An address has at most {LONGEST} characters; this has {len(text):,}.")
    try:
        checked = validate_email(text, check_deliverability=False, test_environment=True, allow_smtputf8=True)
    except EmailNotValidError as error:
        raise Invalid("email", _plain(str(error))) from error
    if checked.ascii_email is None:
        raise Invalid("email", "The part before @ has letters beyond ASCII, which many servers cannot take.")
    return checked.ascii_email


def _plain(message: str) -> str:
    return message.replace("The email address", "The address").replace("An email address", "An address")
