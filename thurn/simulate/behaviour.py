"""How a simulated recipient behaves: a pure function of address and seed.

The first label of a local part forces one behaviour, for tests: `full.anything@gmail.example` has a full mailbox. See
`FORCED`. Anybody else behaves as dice fall whose throw is a hash, with the weights below.
"""

from dataclasses import dataclass
from hashlib import blake2b
from struct import unpack
from typing import Literal

from thurn.simulate.world import provider_of_domain

Receive = Literal["accept", "greylist", "unknown", "full", "policy", "inactive", "moved", "spam", "large"]
What = Literal[
    "bounce",  # a DSN to the envelope sender
    "complain",  # an ARF report to fbl@<domain of the envelope sender>
    "scan",  # a link scanner that says what it is: HEAD and GET of every link and image
    "scan-as-browser",  # one that does not say: GET of every link at once
    "prefetch",  # Apple Mail Privacy Protection: every image, whether or not anybody reads
    "open",  # a person reads; the mail program fetches the images
    "open-proxied",  # a person reads at Google; its proxy fetches the images in that moment
    "click",  # the person follows one link
    "unsubscribe",  # the person presses the mail program's button: RFC 8058
    "unsubscribe-by-mail",  # the same in a program that knows RFC 2369 only
    "answer",  # the person answers, to Reply-To or From
    "answer-sender",  # the person answers the envelope sender, as some programs do
    "away",  # an absence notice to the envelope sender: RFC 3834
    "delayed",  # a DSN that says the mail is late
    "complain-redacted",  # an ARF report without the recipient's address
    "complain-attached",  # a report as Microsoft sends it: the mail attached, no ARF
    "forge",  # somebody else's bounce to an envelope sender that is made up
]


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happens `after` seconds from acceptance. `detail`: why (bounce) or which link (click, 0 to 1)."""

    after: float
    what: What
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a recipient's server answers, and what comes of a mail it accepted."""

    provider: str
    receive: Receive
    greylisted_for: float  # seconds from the first try
    steps: tuple[Step, ...]
    number: int  # stands in replies where servers put an id


@dataclass(frozen=True, slots=True)
class _Dice:
    """Eight independent throws from 0 up to 1."""

    receive: float
    open: float
    click: float
    leave: float
    machine: float
    when: float
    pace: float
    which: float


# Of all recipients, the share whose mail is ...
RECEIVE: tuple[tuple[str, float], ...] = (
    ("greylist", 0.03),
    ("unknown", 0.015),
    ("full", 0.007),
    ("policy", 0.005),
    ("bounce", 0.01),
    ("complain", 0.001),  # a healthy sender; from 0.3% on the guard of campaigns stops it
)
# Of mails that stay accepted: the share a person opens; of those, clicks; of those who opened, unsubscribes.
OPENS = {"google": 0.36, "microsoft": 0.26, "office": 0.26, "yahoo": 0.3, "apple": 0.12, "gmx": 0.32, "other": 0.28}
CLICKS = 0.24
LEAVES = 0.03
# The share a machine fetches first: Apple's proxy for whoever has it on, scanners before companies' mailboxes.
PREFETCHED = {"apple": 0.6}
SCANNED = {"microsoft": 0.12, "office": 0.12, "other": 0.1}


def _throw(address: str, seed: int) -> _Dice:
    digest = blake2b(f"{seed}:{address}".encode("utf-8", "surrogateescape"), digest_size=32).digest()
    return _Dice(*(n / 2**32 for n in unpack("<8I", digest)))


def _person(dice: _Dice, how: What, *, clicks: bool, leaves: bool) -> tuple[Step, ...]:
    """Nobody reads before a scanner of theirs is through: at the earliest 2.5 s after delivery."""
    opened = 2.5 + 2.5 * dice.when
    steps = [Step(opened, how)]
    if clicks:
        steps.append(Step(opened + 0.8 + dice.pace, "click", f"{dice.which:.4f}"))
    if leaves:
        steps.append(Step(opened + 1.5 + dice.pace, "unsubscribe"))
    return tuple(steps)


def _engagement(provider: str, dice: _Dice) -> tuple[Step, ...]:
    steps: tuple[Step, ...] = ()
    if dice.machine < PREFETCHED.get(provider, 0.0):
        # Who reads behind Apple's proxy is not to be seen: no opening of a person follows.
        return (Step(0.5 + 3.5 * dice.when, "prefetch"),)
    scanned = SCANNED.get(provider, 0.0)
    if dice.machine < scanned:
        says_so = dice.machine < scanned / 2
        steps = (Step(0.1 + 0.5 * dice.pace, "scan" if says_so else "scan-as-browser"),)
    if dice.open < OPENS[provider]:
        how: What = "open-proxied" if provider == "google" else "open"
        steps += _person(dice, how, clicks=dice.click < CLICKS, leaves=dice.leave < LEAVES)
    return steps


def _bounce(dice: _Dice) -> tuple[Step, ...]:
    return (Step(1 + 2 * dice.when, "bounce", "unknown" if dice.which < 0.75 else "full"),)


def _complaint(dice: _Dice) -> tuple[Step, ...]:
    return (Step(1.5 + 2 * dice.when, "complain"),)


FORCED = (
    "plain", "unknown", "full", "policy", "grey", "bounce", "complain",
    "open", "gproxy", "mpp", "scanner", "sneaky", "click", "unsub",
    # The following nobody does by chance.
    "inactive", "moved", "spam", "large", "latefull", "latespam", "delayed", "away", "reply", "stray", "leavemail",
    "redacted", "attached", "forged",
)  # fmt: skip
_ONE_STEP: dict[str, tuple[What, str]] = {
    "latefull": ("bounce", "full"),
    "latespam": ("bounce", "spam"),
    "delayed": ("delayed", "full"),
    "away": ("away", ""),
    "reply": ("answer", ""),
    "stray": ("answer-sender", ""),
    "leavemail": ("unsubscribe-by-mail", ""),
    "redacted": ("complain-redacted", ""),
    "attached": ("complain-attached", ""),
    "forged": ("forge", "unknown"),
}


def _forced_steps(label: str, dice: _Dice) -> tuple[Step, ...]:
    match label:
        case "bounce":
            return _bounce(dice)
        case "complain":
            return _complaint(dice)
        case "open" | "click" | "unsub":
            return _person(dice, "open", clicks=label == "click", leaves=label == "unsub")
        case "gproxy":
            return _person(dice, "open-proxied", clicks=False, leaves=False)
        case "mpp":
            return (Step(0.5 + 3.5 * dice.when, "prefetch"),)
        case "scanner":
            return (Step(0.1 + 0.5 * dice.pace, "scan"),)
        case "sneaky":
            return (Step(0.1 + 0.5 * dice.pace, "scan-as-browser"),)
    if label in _ONE_STEP:
        return (Step(0.5 + dice.when, *_ONE_STEP[label]),)
    return ()


def _fate(dice: _Dice) -> str:
    threshold = 0.0
    for name, weight in RECEIVE:
        threshold += weight
        if dice.receive < threshold:
            return name
    return "accept"


def behaviour(address: str, seed: int) -> Behaviour:
    """How this recipient behaves; the same for the same address (in any case) and seed, always."""
    address = address.lower()
    local, _, domain = address.rpartition("@")
    provider = provider_of_domain(domain).name
    dice = _throw(address, seed)
    label, dot, _ = local.partition(".")
    forced = label if dot and label in FORCED else None
    fate = forced or _fate(dice)
    receive: Receive = "accept"
    match fate:
        case "greylist" | "grey":
            receive = "greylist"
        case "unknown" | "full" | "policy" | "inactive" | "moved" | "spam" | "large":
            receive = fate
    if receive not in ("accept", "greylist"):
        steps: tuple[Step, ...] = ()
    elif forced:
        steps = _forced_steps(forced, dice)
    elif fate == "bounce":
        steps = _bounce(dice)
    elif fate == "complain":
        steps = _complaint(dice)
    else:
        steps = _engagement(provider, dice)
    greylisted_for = 2 + 3 * dice.pace if receive == "greylist" else 0.0
    return Behaviour(provider, receive, greylisted_for, steps, int(dice.which * 2**32))
