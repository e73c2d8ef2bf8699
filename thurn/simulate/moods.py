"""Moods of simulated providers: they take no more than so many mails a minute, put mail off, or block, for a while.

A mood belongs to a provider, and if wanted to one client address of ours. Set over the control; forgotten when the
simulated internet starts again.
"""

import threading
from dataclasses import dataclass
from typing import Literal

Refusal = Literal["rate", "tempfail", "block"]
REFUSALS: tuple[Refusal, ...] = ("rate", "tempfail", "block")
_BURST = 5.0  # seconds of the rate that are taken at once


@dataclass(frozen=True, slots=True)
class Mood:
    """`rate`: more than `per_minute` are put off. `tempfail`, `block`: a share of mails is refused by 4xx or 5xx."""

    kind: Refusal
    until: float  # Unix time
    per_minute: float = 0.0
    share: float = 1.0
    client: str = ""  # an address; empty: whoever comes


class Moods:
    """Who is in which mood. Asked from the loop, changed from the control's threads."""

    def __init__(self) -> None:
        self._moods: dict[str, Mood] = {}
        self._tokens: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def put(self, provider: str, mood: Mood) -> None:
        """From now on this provider is in this mood."""
        with self._lock:
            self._moods[provider] = mood
            self._tokens.pop(provider, None)

    def calm(self) -> None:
        """Everybody takes everything again."""
        with self._lock:
            self._moods.clear()
            self._tokens.clear()

    def answer(self, provider: str, client: str, throw: float, now: float) -> Refusal | None:
        """How one mail is refused, or None. `throw`: 0 to below 1, the recipient's own luck."""
        if not self._moods:
            return None
        with self._lock:
            mood = self._moods.get(provider)
            if mood is None or now >= mood.until or (mood.client and mood.client != client):
                return None
            if mood.kind != "rate":
                return mood.kind if throw < mood.share else None
            most = max(1.0, mood.per_minute * _BURST / 60)
            tokens, at = self._tokens.get(provider, (most, now))
            tokens = min(most, tokens + max(0.0, now - at) * mood.per_minute / 60)
            taken = tokens >= 1
            self._tokens[provider] = tokens - 1 if taken else tokens, now
            return None if taken else "rate"
