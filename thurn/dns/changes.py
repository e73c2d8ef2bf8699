"""What has to change in a zone so that it says what it should; nothing of somebody else's is taken away. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from thurn.dns.findings import Answers
from thurn.dns.records import Record, below
from thurn.dns.verdicts import judge

Action = Literal["create", "replace", "keep", "by hand"]
# Beginnings of text records that are ours to replace at a name that others use as well.
_OURS = {
    "spf": "v=spf1", "bounce-spf": "v=spf1", "dmarc": "v=dmarc1", "mta-sts": "v=stsv1", "tls-rpt": "v=tlsrptv1",
    "bimi": "v=bimi1", "server-spf": "v=spf1",
}  # fmt: skip
# Nobody else has anything at these names.
_OUR_NAMES = ("dkim", "dkim-next", "dkim-old", "bounce-mx")


@dataclass(frozen=True, slots=True)
class Change:
    """One record: what goes, what comes, or why nothing does."""

    record: Record
    action: Action
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    why: str = ""

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "action": self.action, "name": self.record.name, "type": self.record.type, "purpose": self.record.purpose,
            "add": list(self.add), "remove": list(self.remove), "why": self.why,
        }  # fmt: skip


def changes(
    wanted: Sequence[Record],
    found: Mapping[tuple[str, str], Answers],
    *,
    zone: str,
    types: Sequence[str],
    at: str = "this provider",
) -> list[Change]:
    """The way from what is there to what should be. `types`: what the publisher can write.

    `at`: its name.
    """
    return [_change(record, found, zone, types, at) for record in wanted]


def _change(
    record: Record, found: Mapping[tuple[str, str], Answers], zone: str, types: Sequence[str], at: str
) -> Change:
    if not below(record.name, zone):
        return Change(record, "by hand", why="It lies in another zone.")
    if record.type not in types:
        why = f"Thurn can neither read nor write {record.type} records at {at}. Add it yourself if it is missing."
        return Change(record, "by hand", why=why)
    answers = found.get((record.name, record.type), Answers("failed"))
    if answers.status in ("failed", "timeout"):
        return Change(record, "by hand", why="What is there now cannot be told; try again.")
    check = judge(record, answers)
    if check.level == "ok":
        return Change(record, "keep")
    in_use = record.kind != "tlsa" or bool(answers.values)  # whether to have it is the operator's choice
    if not record.values or record.kind == "ptr" or not in_use:
        return Change(record, "by hand", why="Thurn does not decide this for you.")
    if record.kind == "caa" and not answers.values:
        return Change(record, "by hand", why="It would keep other authorities from issuing; add it if you want that.")
    values = check.publish or record.values
    if record.kind == "tlsa":  # beside what is there: an older key does no harm, and may be somebody's spare one
        values = tuple(value for value in values if value not in answers.values)
    ours = _ours(record, answers.values)
    if answers.values and not ours and record.kind not in ("caa", "tlsa") and record.type != "TXT":
        return Change(record, "by hand", why=f"Thurn leaves alone what is there: {', '.join(answers.values)}.")
    if record.type == "CNAME" and any(answer.values for (name, _), answer in found.items() if name == record.name):
        return Change(record, "by hand", why="There are other records at this name.")
    if set(ours) == set(values):
        return Change(record, "by hand", why=check.fix or check.what)
    return Change(record, "replace" if ours else "create", values, tuple(v for v in ours if v not in values))


def _ours(record: Record, values: tuple[str, ...]) -> tuple[str, ...]:
    """Which of the values at the name a new one takes the place of."""
    if record.kind in _OUR_NAMES:
        return values
    start = _OURS.get(record.kind, "")
    return tuple(v for v in values if start and v.replace('"', "").replace(" =", "=").lower().startswith(start))
