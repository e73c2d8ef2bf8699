"""The figures of a campaign as pages show them: every recipient in exactly one part, readers apart from machines."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figures:
    """People, never hits. `parts` and `unknown` add up to `recipients`."""

    recipients: int
    delivered: int  # taken by the provider
    retrying: int  # put off, tried again now
    bounced: int
    left_out: int  # suppressed since the start, cancelled, or not to be made into a mail
    unknown: int  # handed over, but a crash took the provider's answer with it
    waiting: int  # no answer of a provider yet
    opened: int
    opened_machine: int
    clicked: int
    clicked_machine: int
    unsubscribed: int
    complained: int
    after_retry: int  # delivered after at least one deferral
    replied: int = 0  # answered by hand, as far as the answers passed this server

    @property
    def answered(self) -> int:
        """Providers have said something about them."""
        return self.delivered + self.retrying + self.bounced

    @property
    def parts(self) -> list[tuple[str, int]]:
        """For the bar: delivered, retrying, bounced, left out, waiting."""
        return [
            ("ok", self.delivered),
            ("warn", self.retrying),
            ("bad", self.bounced),
            ("out", self.left_out),
            ("wait", self.waiting),
        ]


def figures(recipients: int, tallies: Mapping[str, int]) -> Figures:
    """Figures of a campaign, or of its part at one provider."""

    def of(*measures: str) -> int:
        return sum(tallies.get(measure, 0) for measure in measures)

    delivered, retrying, bounced = of("delivered"), of("deferred"), of("bounced_hard", "bounced_soft")
    left_out, unknown = of("suppressed", "cancelled", "failed"), of("unknown")
    return Figures(
        recipients=recipients,
        delivered=delivered,
        retrying=retrying,
        bounced=bounced,
        left_out=left_out,
        unknown=unknown,
        waiting=max(0, recipients - delivered - retrying - bounced - left_out - unknown),
        opened=of("opened_human"),
        opened_machine=of("opened_machine"),
        clicked=of("clicked_human"),
        clicked_machine=of("clicked_machine"),
        unsubscribed=of("unsubscribed"),
        complained=of("complained"),
        after_retry=of("deferred_then_delivered"),
        replied=of("replied"),
    )
