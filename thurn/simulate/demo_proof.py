"""Holds what Thurn says against what the receivers hold."""

from dataclasses import dataclass, field
from typing import Any

from thurn.simulate.demo_mailboxes import Mailboxes
from thurn.simulate.truth import Truth


@dataclass(frozen=True, slots=True)
class Line:
    """One number, from both sides."""

    key: str
    title: str
    thurn: int
    truth: int

    @property
    def agrees(self) -> bool:
        """Whether both say the same."""
        return self.thurn == self.truth


@dataclass(frozen=True, slots=True)
class Proof:
    """All numbers, and what is wrong in words."""

    lines: list[Line]
    summary: dict[str, int]
    problems: list[str] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        """Whether everything adds up."""
        return not self.problems and all(line.agrees for line in self.lines)


# Refusals and late bounces by reason: only a dead address is a hard bounce.
_HARD = {"unknown"}


def prove(status: dict[str, Any], truth: Truth, inside: Mailboxes, recipients: int) -> Proof:
    """Compare `thurn campaign status` with the count of the simulated receivers and of the local mailboxes."""
    tallies = status["tallies"]

    def said(measure: str) -> int:
        return int(tallies.get(measure, 0))

    refused_hard = sum(n for kind, n in truth.refused.items() if kind in _HARD)
    refused_soft = sum(n for kind, n in truth.refused.items() if kind not in _HARD)
    late_hard = sum(n for kind, n in truth.late_bounces.items() if kind in _HARD)
    late_soft = sum(n for kind, n in truth.late_bounces.items() if kind not in _HARD)
    held = truth.recipients + inside.received
    missing = (truth.missing or 0) + len(inside.missing)
    refused = sum(truth.refused.values())
    lines = [
        Line("recipients", "Recipients", int(status["recipients"]), recipients),
        Line("handed_over", "Handed over", said("handed_over"), held + refused),
        Line("delivered", "Delivered", said("delivered"), held - late_hard - late_soft),
        Line(
            "deferred_then_delivered",
            "Put off, then delivered",
            said("deferred_then_delivered"),
            truth.deferred_then_delivered,
        ),
        Line("bounced_hard", "Bounced, address dead", said("bounced_hard"), refused_hard + late_hard),
        Line("bounced_soft", "Bounced, other reasons", said("bounced_soft"), refused_soft + late_soft),
        Line("complaints", "Complained", said("complained"), truth.complaints),
        Line("opens_human", "Opened by people", said("opened_human"), truth.opens_human),
        Line("opens_machine", "Opened by machines", said("opened_machine"), truth.opens_machine),
        Line("clicks_human", "Clicked by people", said("clicked_human"), truth.clicks_human),
        Line("clicks_machine", "Clicked by machines", said("clicked_machine"), truth.clicks_machine),
        Line("unsubscribes", "Unsubscribed", said("unsubscribed"), truth.unsubscribes),
    ]
    duplicates = truth.duplicates + inside.duplicates
    signed, passed = truth.accepted + inside.received + inside.duplicates, truth.dkim_pass + inside.dkim_pass
    problems = [
        text
        for wrong, text in (
            (missing, f"{missing} people got nothing: {(truth.samples.get('missing', []) + inside.missing)[:5]}"),
            (duplicates, f"{duplicates} mails came twice: {truth.samples.get('duplicates', [])[:5]}"),
            (signed - passed, f"{signed - passed} signatures do not verify: {truth.samples.get('dkim', [])[:5]}"),
            (truth.misaddressed, f"{truth.misaddressed} mails name somebody else in To."),
            (truth.unexpected, f"{truth.unexpected} people got a mail who are not on the list."),
            (
                truth.failed_actions,
                f"{truth.failed_actions} actions failed: {truth.samples.get('failed_actions', [])[:5]}",
            ),
        )
        if wrong
    ]
    summary = {line.key: line.thurn for line in lines}
    summary |= {
        "mailboxes_received": inside.received,
        "dkim_pass": passed,
        "duplicates": duplicates,
        "missing": missing,
    }
    return Proof(lines, summary, problems)
