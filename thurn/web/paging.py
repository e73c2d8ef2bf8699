"""A page of a long table: what of the rows found is shown, and the way to the pages beside it."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from starlette.datastructures import URL

from thurn.db.connect import Row


class Shown(NamedTuple):
    """The rows of a page, and URLs of those before and behind it; empty where there is none."""

    rows: Sequence[Row]
    newer: str
    older: str


def shown(
    here: URL, found: Sequence[Row], *, place: Callable[[Row], Any], limit: int, back: object, on: object,
    names: tuple[str, str] = ("before", "after"),
) -> Shown:  # fmt: skip
    """`found` holds one row more than `limit` where there are more; `place` is what a URL says of a row.

    `back` is the place this page ends before, `on` the one it begins behind (None: neither was asked for); `names` are
    their parameters. `here` is the page's URL with its filters.
    """
    backwards = back is not None and on is None
    rows = found[-limit:] if backwards else found[:limit]
    more = len(found) > limit
    has_newer, has_older = (more, True) if backwards else (on is not None, more)
    return Shown(
        rows,
        str(here.include_query_params(**{names[0]: place(rows[0])})) if has_newer and rows else "",
        str(here.include_query_params(**{names[1]: place(rows[-1])})) if has_older and rows else "",
    )
