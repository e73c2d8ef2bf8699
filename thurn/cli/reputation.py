"""The command `thurn reputation`: what others think of this server."""

import asyncio
from typing import Any

import typer

from thurn.cli.common import Json, State, emit
from thurn.db.connect import connect
from thurn.settings import load_settings


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command("reputation")(reputation)


def reputation(
    look: bool = typer.Option(False, "--look", help="Ask the block lists now; takes up to a minute."),
    as_json: Json = False,
    state: State = None,
) -> None:
    """Show block lists and refusals of the last day. Exit code 1 while an address or domain of ours is listed."""
    from thurn.reputation import service, watch
    from thurn.reputation.refusals import refusals

    async def work() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        settings = load_settings(state)
        async with await connect(settings, "system", autocommit=True) as db:
            if look:
                await watch.look(db, settings)
            listings = [
                {"subject": each.row["subject"], "list": each.of.name, "word": each.word, "why": each.row["why"],
                 "listed_at": each.row["listed_at"], "delist": each.of.delist, "do": each.of.do}
                for each in await service.listings(db)
            ]  # fmt: skip
            refused = [
                {"provider": r.name, "category": r.category, "n": r.n, "of": r.of, "reply": r.reply, "do": r.do,
                 "form": r.contact.form}
                for r in await refusals(db)
            ]  # fmt: skip
        return listings, refused

    listings, refused = asyncio.run(work())
    listed = [each for each in listings if each["word"] == "Listed"]
    lines = [f"LISTED   {each['subject']} on {each['list']}: {each['why']}\n         {each['do']} {each['delist']}"
             for each in listed]  # fmt: skip
    unknown = sorted({f"{each['list']}: {each['why']}" for each in listings if each["word"] == "Unknown"})
    lines += [f"UNKNOWN  {each}" for each in unknown]
    lines += [
        f"REFUSED  {each['n']:,} of {each['of']:,} mails by {each['provider']} ({each['category']}):\n"
        f"         {each['reply']}"
        for each in refused
    ]
    if not listings:
        lines.append("The block lists were not asked yet; --look asks them now.")
    elif not listed:
        lines.insert(0, f"Not listed: {sum(each['word'] == 'Not listed' for each in listings)} answers.")
    emit({"listings": listings, "refusals": refused}, as_json, "\n".join(lines))
    if listed:
        raise typer.Exit(1)
