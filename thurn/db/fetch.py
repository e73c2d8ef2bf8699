"""Rows of a query, for code that knows how many there are."""

from collections.abc import Mapping, Sequence
from typing import Any, LiteralString

from thurn.db.connect import Connection, Row

Values = Sequence[Any] | Mapping[str, Any] | None


async def maybe(db: Connection, query: LiteralString, values: Values = None) -> Row | None:
    """The first row, or None."""
    return await (await db.execute(query, values)).fetchone()


async def one(db: Connection, query: LiteralString, values: Values = None) -> Row:
    """The first row of a query that always has one; `LookupError` if it had none after all."""
    row = await maybe(db, query, values)
    if row is None:
        raise LookupError("The query gave no row.")
    return row


async def rows(db: Connection, query: LiteralString, values: Values = None) -> list[Row]:
    """Every row: for queries that are bounded."""
    return await (await db.execute(query, values)).fetchall()
