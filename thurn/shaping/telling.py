"""What an operator is told when a provider stops taking our mail, and when it goes on: alerts of `main`."""

from collections.abc import Mapping
from datetime import datetime

from thurn.alerts import mended, notify
from thurn.db.connect import Connection
from thurn.db.fetch import maybe, rows
from thurn.delivery import providers
from thurn.shaping.decide import FOREVER, State
from thurn.web.words import PROVIDERS

PAGE = "/house/delivery"
_STOPPED = ("suspended", "held")


def title(provider: str) -> str:
    """A provider as people call it."""
    return PROVIDERS.get(provider, provider)


def subject(provider: str, egress: str) -> str:
    """The alert's line."""
    return f"Nothing goes to {title(provider)} from {egress} for now"


def text(state: State) -> str:
    """What happened, why, and what to do; with the provider's own words."""
    parts = [state.reason, f"What to do: {state.todo}" if state.todo else ""]
    if state.link:
        parts.append(f"Where: {state.link}")
    if state.evidence:
        parts.append(f"Their reply: {state.evidence}")
    parts.append(f"{until_words(state.until)} Other providers get their mail as before, and nobody was suppressed.")
    return "\n\n".join(part for part in parts if part)


def until_words(until: datetime | None) -> str:
    """Until when, as a sentence."""
    if until is None or until == FOREVER:
        return "This lasts until you press “Try again” under Delivery."
    return f"Thurn tries again by itself at {until:%H:%M} UTC on {until:%-d %B}."


async def tell(db: Connection, before: Mapping[tuple[int, str], State], after: Mapping[tuple[int, str], State]) -> None:
    """Raise and close alerts, in the transaction of the decision. What somebody held by hand is no news."""
    news = {
        pair: state
        for pair, state in after.items()
        if (state.mode in _STOPPED) != (before.get(pair, State()).mode in _STOPPED)
    }
    if not news:
        return
    house = await maybe(db, "SELECT id FROM workspace WHERE slug = 'main'")
    if house is None:
        return
    names = {row["id"]: row["name"] for row in await rows(db, "SELECT id, name FROM egress")}
    for (egress, provider), state in sorted(news.items()):
        key = f"shaping:{egress}:{provider}"
        if state.mode not in _STOPPED:
            await mended(db, house["id"], key, mail=False)
        elif state.rule != "by hand":
            line = subject(provider, names.get(egress, str(egress)))
            await notify(db, house["id"], line, text(state), key, level="bad", link=PAGE, act="See what to do")


async def forget(db: Connection, pair: tuple[int, str]) -> None:
    """Close a lane's alert without another mail: a person has dealt with it."""
    house = await maybe(db, "SELECT id FROM workspace WHERE slug = 'main'")
    if house is not None:
        await mended(db, house["id"], f"shaping:{pair[0]}:{pair[1]}", mail=False)


def known_providers() -> frozenset[str]:
    """Names of providers that can be shaped: all but our own server."""
    return frozenset(providers.PROVIDERS) - {"local"}
