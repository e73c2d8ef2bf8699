"""The few pages a reader sees: leaving, having left, an address that leads nowhere. Each is complete in one answer.

They need no script, no built front end and no database, so they work when everything else is down.
"""

from base64 import b64encode
from hashlib import sha256
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

_FILES = files("thurn.tracking").joinpath("templates")
_STYLE = _FILES.joinpath("page.css").read_text("utf-8")
_TEMPLATE = Environment(autoescape=True, undefined=StrictUndefined).from_string(
    _FILES.joinpath("page.html").read_text("utf-8")
)
# The style is in the page; the policy names it by its hash and allows nothing else.
CSP = (
    f"default-src 'none'; style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
).encode()


def _page(title: str, *lines: str, button: str = "") -> bytes:
    style = Markup(_STYLE)  # noqa: S704 - our own file
    return _TEMPLATE.render(title=title, lines=[line for line in lines if line], button=button, style=style).encode()


def masked(address: str) -> str:
    """Enough of an address to recognise one's own, too little to learn another's from a forwarded mail."""
    local, _, domain = address.rpartition("@")
    return f"{local[:1]}…@{domain}"


def leave(sender: str = "", address: str = "") -> bytes:
    """The question, with one button."""
    return _page(
        "Stop these mails?",
        f"You will get no more mails from {sender}." if sender else "You will get no more of these mails.",
        f"They are sent to {masked(address)}." if address else "",
        button="Unsubscribe",
    )


LEFT = _page(
    "You are unsubscribed",
    "You will get no more of these mails. There is nothing else you need to do.",
    "A mail that was already on its way may still arrive.",
)
NOT_DONE = _page(
    "That did not work just now",
    "Your wish could not be written down, because this server has a problem at the moment.",
    "Please press the button again in a few minutes.",
    button="Unsubscribe",
)
NOWHERE = _page(
    "This link leads nowhere",
    "It is incomplete, or the mail it belongs to no longer exists. Mail programs sometimes cut long links.",
    "Please try the link in the mail itself. If it came in a mail you did not expect, close this page.",
)
LATER = _page(
    "This link does not work just now",
    "The server could not look up where it leads. Please try again in a minute.",
)
NOT_HERE = _page("That is not possible here", "This address only answers when it is opened or, to unsubscribe, sent.")
