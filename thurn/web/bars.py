"""Bars as SVG whose lengths are attributes: widths from data, no inline style. People solid, machines hatched."""

from collections.abc import Sequence

from markupsafe import Markup

from thurn.web.words import number

# kind -> (how it is painted, the word for it)
KINDS: dict[str, tuple[str, str]] = {
    "ok": ('class="f-ok"', "delivered"),
    "warn": ('fill="url(#h-warn)"', "retrying"),
    "bad": ('class="f-bad"', "bounced"),
    "out": ('class="f-well"', "left out"),
    "wait": ('fill="url(#h-wait)"', "waiting"),
    "ink": ('class="f-ink"', "people"),
    "machine": ('fill="url(#h-machine)"', "machines"),
    "accent": ('class="f-accent"', "done"),
}
Part = tuple[str, int]  # kind, how many


def tally(parts: Sequence[Part], *, height: int = 12, label: str = "") -> Markup:
    """A bar of parts that sum up to the whole; `label` is the sentence for those who cannot see it."""
    total = sum(n for _, n in parts)
    sentence = label or ", ".join(f"{number(n)} {KINDS[kind][1]}" for kind, n in parts if n)
    rects, gaps, x = [], [], 0.0
    for kind, n in parts:
        if not n:
            continue
        width = 100 * n / total
        rects.append(f'<rect x="{x:.3f}%" y="0" width="{width:.3f}%" height="{height}" {KINDS[kind][0]}/>')
        if x:
            gaps.append(f'<rect x="{x:.3f}%" y="0" width="2" height="{height}" class="f-sheet"/>')
        x += width
    if not rects:
        rects.append(f'<rect y="0" width="100%" height="{height}" fill="url(#h-wait)"/>')
    return Markup('<svg class="bar" height="{}" role="img" aria-label="{}">{}</svg>').format(
        height,
        sentence or "Nothing yet",
        Markup("".join(rects + gaps)),  # noqa: S704 - numbers only
    )


def share(people: float, machines: float = 0, *, height: int = 20, label: str = "", tone: str = "") -> Markup:
    """A part of a whole, both between 0 and 1, on an empty bar; what machines did follows hatched.

    With `tone` (`warn`, `bad`) the part has the colour of that state: a store that fills up.
    """
    fill = {"warn": "f-warn", "bad": "f-bad"}.get(tone, "f-ink")
    people, machines = min(max(people, 0.0), 1.0), min(max(machines, 0.0), 1.0)
    machines = min(machines, 1.0 - people)
    rects = [f'<rect y="0" width="100%" height="{height}" rx="2" class="f-well"/>']
    if people:
        rects.append(f'<rect y="0" width="{people:.2%}" height="{height}" rx="2" class="{fill}"/>')
    if machines:
        rects.append(f'<rect x="{people:.2%}" y="0" width="{machines:.2%}" height="{height}" fill="url(#h-machine)"/>')
        if people:
            rects.append(f'<rect x="{people:.2%}" y="0" width="2" height="{height}" class="f-sheet"/>')
    inner = Markup("".join(rects))  # noqa: S704 - numbers only
    if not label:
        return Markup('<svg class="bar" height="{}" aria-hidden="true">{}</svg>').format(height, inner)
    return Markup('<svg class="bar" height="{}" role="img" aria-label="{}">{}</svg>').format(height, label, inner)


def columns(values: Sequence[tuple[int, int]], *, label: str, height: int = 96) -> Markup:
    """A column for each (good, bad), good below; the highest fills the height. `label` is the finding in a sentence."""
    top = max((good + bad for good, bad in values), default=0) or 1
    step = 100 / max(len(values), 1)
    rects = [f'<rect x="0" y="{height - 1}" width="100%" height="1" class="f-well"/>']
    for n, (good, bad) in enumerate(values):
        # What is there is seen, however little it is beside the rest.
        up, more = (max(2.0, part / top * (height - 4)) if part else 0.0 for part in (good, bad))
        x, width = n * step + step * 0.15, step * 0.7
        for part, y, fill in ((up, height - up, "f-ok"), (more, height - up - more, "f-bad")):
            if part:
                rects.append(
                    f'<rect x="{x:.3f}%" y="{y:.1f}" width="{width:.3f}%" height="{part:.1f}" class="{fill}"/>'
                )
    return Markup('<svg class="bar" height="{}" role="img" aria-label="{}">{}</svg>').format(
        height,
        label,
        Markup("".join(rects)),  # noqa: S704 - numbers only
    )


def key(kind: str) -> Markup:
    """The little square that explains a part of a bar."""
    return Markup('<svg viewBox="0 0 12 12" aria-hidden="true"><rect width="12" height="12" {}/></svg>').format(
        Markup(KINDS[kind][0])  # noqa: S704 - a constant
    )
