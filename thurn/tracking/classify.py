"""Human or machine: what a tracking hit was, by who fetched it, when, and what else was fetched beside it. Pure.

Each decision has the name of the rule that made it, which the event keeps, so that a number can be questioned.
"""

import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Literal, NamedTuple

from thurn.tracking.spool import Hit

Actor = Literal["human", "machine"]
Key = tuple[int, int]  # campaign, delivery

SOON = 1.5  # seconds from delivery within which no person has read a mail
PAIR = 1.0  # seconds within which nobody follows two different links of a mail
BURST = 2.0  # seconds within which nobody follows three different links of a mail


class Decision(NamedTuple):
    """Who it was, and the rule that says so."""

    actor: Actor
    rule: str


class Agents(NamedTuple):
    """What is known about User-Agents: agents.toml."""

    proxies: tuple[str, ...]
    privacy: frozenset[str]
    robots: tuple[str, ...]


@lru_cache(maxsize=1)
def agents() -> Agents:
    """The list, read once."""
    data = tomllib.loads(files("thurn.tracking").joinpath("agents.toml").read_text("utf-8"))
    return Agents(tuple(data["proxies"]), frozenset(data["privacy"]), tuple(data["robots"]))


@lru_cache(maxsize=4096)
def by_agent(agent: str) -> Decision:
    """What the User-Agent alone says; human unless it gives itself away."""
    known = agents()
    agent = agent.strip()
    if not agent:
        return Decision("machine", "no-user-agent")
    if agent in known.privacy:
        return Decision("machine", "apple-mail-privacy")
    lower = agent.lower()
    if any(word in lower for word in known.proxies):
        return Decision("human", "image-proxy")
    if any(word in lower for word in known.robots):
        return Decision("machine", "known-robot")
    return Decision("human", "person")


def bursts(clicks: Iterable[tuple[Key, float, int]]) -> dict[Key, list[float]]:
    """Moments at which a delivery's links were fetched faster than a person does, from (delivery, time, link)."""
    by_key: dict[Key, list[tuple[float, int]]] = defaultdict(list)
    for key, at, link in clicks:
        by_key[key].append((at, link))
    found = {}
    for key, fetched in by_key.items():
        if len(fetched) > 1:
            moments = _burst(sorted(fetched))
            if moments:
                found[key] = moments
    return found


def _burst(fetched: Sequence[tuple[float, int]]) -> list[float]:
    """Of one delivery's fetches in order of time, the moments of those that belong to a burst."""
    caught: set[float] = set()
    start = 0
    for end, (at, link) in enumerate(fetched):
        while at - fetched[start][0] > BURST:
            start += 1
        window = fetched[start : end + 1]
        if len({other for _, other in window}) >= 3:
            caught.update(moment for moment, _ in window)
        else:
            pair = [moment for moment, other in window if other != link and at - moment <= PAIR]
            if pair:
                caught.update((*pair, at))
    return sorted(caught)


def decide(hit: Hit, delivered: float | None, burst: Mapping[Key, Sequence[float]]) -> Decision:
    """Human or machine. `delivered`: when the provider took the mail (else when we handed it over), if known."""
    if hit.method == "HEAD":
        return Decision("machine", "head-request")
    decision = by_agent(hit.agent)
    if decision.actor == "machine":
        return decision
    if hit.prefetch:
        return Decision("machine", "prefetch")
    if delivered is not None and hit.at < delivered + SOON:
        return Decision("machine", "too-soon")
    moments = burst.get((hit.campaign, hit.delivery))
    if moments:
        if hit.purpose == "c" and hit.at in moments:
            return Decision("machine", "burst-of-links")
        if hit.purpose == "o" and any(abs(hit.at - moment) <= PAIR for moment in moments):
            return Decision("machine", "beside-burst")
    return decision
