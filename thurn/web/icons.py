"""Icons, and the shapes and words of states, as inline SVG: no icon font, no style in the page."""

from pathlib import Path
from xml.etree import ElementTree as ET

from markupsafe import Markup

_SVG = "{http://www.w3.org/2000/svg}"

# word -> (shape, tone). The whole vocabulary of the interface; a state is a shape and a word, colour comes third.
STATES: dict[str, tuple[str, str]] = {
    # campaign
    "Draft": ("dashed", "off"),
    "Scheduled": ("scheduled", "live"),
    "Sending": ("live", "live"),
    "Paused": ("paused", "warn"),
    "Paused by guard": ("paused", "bad"),
    "Sent": ("ok", "ok"),
    "Cancelled": ("crossed", "off"),
    # contact
    "Subscribed": ("ok", "ok"),
    "Unconfirmed": ("scheduled", "off"),
    "Left": ("crossed", "off"),
    "Suppressed": ("bad", "bad"),
    "Erased": ("crossed", "off"),
    # delivery
    "Waiting": ("ring", "off"),
    "Delivered": ("ok", "ok"),
    "Retrying": ("slowed", "warn"),
    "Bounced": ("bad", "bad"),
    "Put off": ("slowed", "warn"),
    "Unknown": ("unknown", "off"),
    # address at a provider
    "Normal": ("ok", "ok"),
    "Warming up": ("rising", "live"),
    "Warm": ("ok", "ok"),
    "Slowed": ("slowed", "warn"),
    "Held": ("paused", "bad"),
    "Idle": ("ring", "off"),
    "Off": ("crossed", "off"),
    "Leaving": ("scheduled", "off"),
    # machine that sends
    "Expected": ("dashed", "off"),
    "Starting": ("scheduled", "live"),
    "Takes no mail": ("paused", "bad"),
    "Silent": ("unknown", "bad"),
    "Lost": ("bad", "bad"),
    "Gone": ("crossed", "off"),
    # record
    "Correct": ("ok", "ok"),
    "Checking": ("live", "live"),
    "Missing": ("warn", "warn"),
    "Broken": ("bad", "bad"),
    "Optional": ("ring", "off"),
    # certificate
    "Runs out soon": ("warn", "warn"),
    "Self-signed": ("warn", "warn"),
    "Not used": ("ring", "off"),
    # sender in DMARC reports
    "Passes": ("ok", "ok"),
    "Partly passes": ("warn", "warn"),
    "Fails": ("bad", "bad"),
    "Forged": ("crossed", "off"),
    "Forwarded": ("ring", "off"),
    "Undecided": ("unknown", "warn"),
    # block list
    "Listed": ("bad", "bad"),
    "Not listed": ("ok", "ok"),
    # DKIM key
    "Retiring": ("crossed", "off"),
    # mailbox
    "Active": ("ok", "ok"),
    "Nearly full": ("warn", "warn"),
    "Full": ("bad", "bad"),
    "Receives only": ("paused", "off"),
    "Disabled": ("crossed", "off"),
    # sign-in
    "Refused": ("crossed", "warn"),
    # import
    "Moving": ("live", "live"),
    "Moved": ("ok", "ok"),
    "Importing": ("live", "live"),
    "Imported": ("ok", "ok"),
    "Failed": ("bad", "bad"),
}

# Level of a verdict -> shape.
LEVELS = {"ok": "ok", "warn": "warn", "bad": "bad", "live": "live", "off": "ring", "paused": "paused"}


def _load() -> dict[str, tuple[str, Markup]]:
    """Name -> (viewBox, inner markup), from templates/icons.svg, which is our own file."""
    tree = ET.parse(Path(__file__).parent / "templates" / "icons.svg")  # noqa: S314
    ET.register_namespace("", _SVG.strip("{}"))
    found = {}
    for symbol in tree.getroot().iter(f"{_SVG}symbol"):
        inner = "".join(ET.tostring(child, encoding="unicode") for child in symbol)
        inner = inner.replace(' xmlns="http://www.w3.org/2000/svg"', "")  # HTML needs none
        found[symbol.attrib["id"]] = (symbol.attrib["viewBox"], Markup(inner))  # noqa: S704 - our own file
    return found


_ICONS = _load()
_ICON = Markup(
    '<svg class="{}" aria-hidden="true" viewBox="{}" fill="none" stroke="currentColor" stroke-width="1.75"'
    ' stroke-linecap="round" stroke-linejoin="round" width="16" height="16">{}</svg>'
)
_SHAPE = Markup('<svg class="{}" aria-hidden="true" viewBox="{}" width="16" height="16">{}</svg>')


def icon(name: str, classes: str = "") -> Markup:
    """The icon `name` of templates/icons.svg, hidden from screen readers; a word stands beside it."""
    return _ICON.format(classes, *_ICONS[name])


def shape(name: str, classes: str = "") -> Markup:
    """The shape of a state: ok, warn, bad, live, paused, slowed, scheduled, dashed, machine, crossed, ring, unknown."""
    return _SHAPE.format(classes, *_ICONS[f"state-{name}"])


def state(word: str, *, tag: bool = False) -> Markup:
    """A state of the vocabulary as shape and word; `tag` for the filled form that stands beside a page title."""
    form, tone = STATES[word]
    return Markup('<span class="state {}{}">{}{}</span>').format(tone, " tag" if tag else "", shape(form), word)


# How the states of a campaign in the database are called.
CAMPAIGN_STATES = {
    "draft": "Draft",
    "launching": "Sending",
    "sending": "Sending",
    "paused": "Paused",
    "cancelled": "Cancelled",
    "sent": "Sent",
}
