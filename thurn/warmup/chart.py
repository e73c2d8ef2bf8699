"""A plan as a chart: what was sent under the caps of days that were, today, and the caps of days to come."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup


@dataclass(frozen=True, slots=True)
class Column:
    """A day. `when`: was, today, or will be."""

    cap: int
    sent: int = 0
    when: str = "will"


def days(history: Sequence[tuple[int, int]], curve: Sequence[int], *, today: bool) -> list[Column]:
    """Columns of past days (cap, sent), oldest first; the last of them is today if it is one; then the curve."""
    past = [Column(cap or sent, sent, "was") for cap, sent in history]
    if past and today:
        past[-1] = Column(past[-1].cap, past[-1].sent, "today")
    return [*past, *(Column(cap) for cap in curve)]


def chart(columns: Sequence[Column], *, label: str, height: int = 160) -> Markup:
    """Bars as SVG: sent solid, the rest of a cap pale, a line at the cap. `label` says it in a sentence."""
    top = max((max(each.cap, each.sent) for each in columns), default=0) or 1
    step = 100 / max(len(columns), 1)
    room = height - 4
    rects = [f'<rect x="0" y="{height - 1}" width="100%" height="1" class="f-well"/>']
    for n, each in enumerate(columns):
        x, width = n * step + step * 0.14, step * 0.72
        cap = max(3.0, each.cap / top * room)
        sent = max(2.0, each.sent / top * room) if each.sent else 0.0
        rects.append(_rect(x, height - cap, width, cap, "f-well"))
        if sent:
            rects.append(_rect(x, height - sent, width, sent, "f-accent" if each.when == "today" else "f-ink"))
        if each.cap:
            rects.append(_rect(x, height - cap - 2, width, 2, "f-ink"))
    return Markup('<svg class="bar" height="{}" role="img" aria-label="{}">{}</svg>').format(
        height,
        label,
        Markup("".join(rects)),  # noqa: S704 - numbers only
    )


def _rect(x: float, y: float, width: float, height: float, fill: str) -> str:
    return f'<rect x="{x:.3f}%" y="{y:.1f}" width="{width:.3f}%" height="{height:.1f}" class="{fill}"/>'
