"""Commands of the group reports: what receivers report about mail in the name of our domains."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from thurn.cli.common import Json, State, Workspace, emit, fail, in_workspace
from thurn.db.connect import Connection
from thurn.mailhost.service import get_domain
from thurn.settings import Settings


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    group = typer.Typer(no_args_is_help=True, help="DMARC and TLS reports.")
    group.command("read")(read)
    group.command("show")(show)
    group.command("decide")(decide)
    app.add_typer(group, name="reports")


def read(
    sources: Annotated[list[str], typer.Argument(metavar="FILE…|-", help="Reports: XML, JSON, gzip, zip or a mail.")],
    store: Annotated[bool, typer.Option("--store", help="Put them into the database of a running Thurn.")] = False,
    as_json: Json = False,
    state: State = None,
    workspace: Workspace = "main",
) -> None:
    """Say what reports say, one JSON object a report with --json. Needs no running Thurn, unless to store them."""
    files = [(source, _bytes(source)) for source in sources]
    taken = _store(files, state, workspace, as_json) if store else _show(files, as_json)
    if not taken:
        raise typer.Exit(1)


def _bytes(source: str) -> bytes:
    from thurn.feedback.archive import PACKED

    try:
        if source == "-":
            return sys.stdin.buffer.read(PACKED + 1)
        with Path(source).open("rb") as file:
            return file.read(PACKED + 1)
    except OSError as error:
        fail(f"{source} cannot be read: {error.strerror}.")


def _show(files: list[tuple[str, bytes]], as_json: bool) -> int:
    from thurn.feedback.reports_read import as_json as said
    from thurn.feedback.reports_read import read as read_all

    taken = 0
    for source, raw in files:
        for reading in read_all(raw, Path(source).name):
            taken += reading.report is not None
            data = {"file": source, **said(reading)}
            print(json.dumps(data, default=str, ensure_ascii=False) if as_json else _in_words(data))
    return taken


def _in_words(said: dict[str, Any]) -> str:
    if said["kind"] == "refused":
        return f"{said['file']}: {said['why']}"
    if said["kind"] == "dmarc-failure":
        return f"{said['file']}: one mail from {said['source']} as {said['domain']} failed ({said['failed']})."
    head = f"{said['file']}: {said['org']} on {said['domain']}, {said['begins']:%d %b %Y} to {said['ends']:%d %b %Y}"
    if said["kind"] == "dmarc":
        rows = sorted(said["rows"], key=lambda row: -row["count"])
        lines = [f"  {row['count']:>7}  {row['source']:39} {_passed(row)}" for row in rows[:50]]
        more = [f"  and {len(rows) - 50} rows more"] if len(rows) > 50 else []
        return "\n".join([f"{head}: {said['mails']:,} mails, {said['passed']:,} passed", *lines, *more])
    lines = [
        f"  {policy['kind']}: {policy['good']:,} sessions encrypted, {policy['bad']:,} failed"
        + "".join(f"\n    {each['count']:>7}  {each['result']} {each['mx']}" for each in policy["failures"][:50])
        for policy in said["policies"]
    ]
    return "\n".join([head, *lines])


def _passed(row: dict[str, Any]) -> str:
    passed = [name for name in ("dkim", "spf") if row[name]]
    if passed:
        return f"passed by {' and '.join(name.upper() for name in passed)}"
    return f"failed, {row['disposition']}" + (f" ({', '.join(row['overrides'])})" if row["overrides"] else "")


def _store(files: list[tuple[str, bytes]], state: Path | None, workspace: str, as_json: bool) -> int:
    from thurn.feedback.reports import Stored, upload

    async def work(db: Connection, workspace_id: int, settings: Settings) -> list[tuple[str, Stored]]:
        return [(source, each) for source, raw in files for each in await upload(db, raw, name=Path(source).name)]

    found = in_workspace(state, workspace, work)
    for source, each in found:
        data = {"file": source, "document": each.name, "new": each.new, "counted": each.counted, "said": each.summary}
        print(json.dumps(data, ensure_ascii=False) if as_json else f"{source}: {each.summary}")
    return sum(each.new or each.counted for _, each in found)


Domain = Annotated[str, typer.Argument(metavar="DOMAIN", help="A domain of the workspace.")]


def show(domain: Domain, as_json: Json = False, state: State = None, workspace: Workspace = "main") -> None:
    """Say who sent in the name of a domain in the last 30 days, and whether a stricter policy is safe."""
    from thurn.dmarc import service

    async def work(db: Connection, workspace_id: int, settings: Settings) -> tuple[Any, Any]:
        row = await get_domain(db, domain)
        return await service.overview(db, row["id"]), await service.tls(db, row["id"])

    found, tls = in_workspace(state, workspace, work)
    sources = [
        {"key": each.key, "name": each.name, "state": each.state, "mails": each.mails, "passed": each.passed}
        for each in found.sources
    ]
    said = {
        "published": found.published, "mails": found.mails, "passed": found.passed, "advice": asdict(found.advice),
        "sources": sources, "tls": {"good": tls.good, "bad": tls.bad},
    }  # fmt: skip
    marks = [f"  {'ok' if figure.good else '--'}  {figure.text}" for figure in found.advice.figures]
    lines = [f"{each['mails']:>9,}  {each['state']:14} {each['name']}  ({each['key']})" for each in sources[:50]]
    text = [f"{found.advice.title}. {found.advice.why}", *marks, *([""] if lines else []), *lines]
    if tls.good or tls.bad:
        text += ["", f"Connections to you: {tls.good:,} encrypted, {tls.bad:,} failed."]
    emit(said, as_json, "\n".join(text))


def decide(
    domain: Domain,
    source: Annotated[str, typer.Argument(help="The sender, as `thurn reports show` has it in brackets.")],
    whose: Annotated[str, typer.Argument(metavar="ours|foreign|unknown", help="Whose it is.")],
    state: State = None,
    workspace: Workspace = "main",
) -> None:
    """Say whose a sender is; advice reckons with it."""
    from thurn.dmarc import service

    verdicts: dict[str, service.Verdict] = {"ours": "ours", "foreign": "foreign", "unknown": ""}
    if whose not in verdicts:
        fail("A sender is ours, foreign or unknown.")

    async def work(db: Connection, workspace_id: int, settings: Settings) -> None:
        await service.decide(db, await get_domain(db, domain), source=source, verdict=verdicts[whose])

    in_workspace(state, workspace, work)
    print(f"{source} is noted as {whose}.")
