"""More commands for domains: their settings, new DKIM keys, publishing of records."""

import json
import sys
from typing import Annotated, Any

import typer

from thurn.cli.common import Json, State, Workspace, emit, fail, in_workspace
from thurn.cli.mailhost import Name, domain
from thurn.db.connect import Connection, Row
from thurn.dns import publishing
from thurn.dns.changes import Change
from thurn.mailhost import domain_settings, rotate, service
from thurn.settings import Settings

_SHOWN = ("mta_sts_mode", "tls_reports", "dmarc_policy", "tracking_host", "bimi_logo", "rotate_months")


@domain.command("settings")
def domain_settings_(
    name: Name,
    mta_sts: Annotated[str | None, typer.Option("--mta-sts", help="none, testing or enforce.")] = None,
    tls_reports: Annotated[bool | None, typer.Option("--tls-reports/--no-tls-reports", help="Ask for reports.")] = None,
    dmarc: Annotated[str | None, typer.Option("--dmarc", help="none, quarantine or reject.")] = None,
    tracking_host: Annotated[str | None, typer.Option("--tracking-host", help="Name in links; empty: none.")] = None,
    bimi_logo: Annotated[str | None, typer.Option("--bimi-logo", help="https://….svg; empty: none.")] = None,
    rotate_months: Annotated[int | None, typer.Option("--rotate-months", help="New keys so often; 0: never.")] = None,
    as_json: Json = False,
    state: State = None,
    workspace: Workspace = "main",
) -> None:
    """Show or change what a domain asks of others."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> Row:
        await domain_settings.change(
            db, name, mta_sts_mode=mta_sts, tls_reports=tls_reports, dmarc_policy=dmarc,
            tracking_host=tracking_host, bimi_logo=bimi_logo, rotate_months=rotate_months,
        )  # fmt: skip
        return await service.get_domain(db, name)

    row = in_workspace(state, workspace, work)
    shown = {key: row[key] for key in _SHOWN}
    emit(shown, as_json, "\n".join(f"{key.replace('_', '-'):14} {value}" for key, value in shown.items()))


@domain.command("rotate")
def domain_rotate(
    name: Name,
    cancel: Annotated[bool, typer.Option("--cancel", help="Drop the keys that do not sign yet.")] = False,
    as_json: Json = False,
    state: State = None,
    workspace: Workspace = "main",
) -> None:
    """Make new DKIM keys. Thurn signs with them as soon as every name server has them."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> list[dict[str, Any]]:
        row = await service.get_domain(db, name)
        await (rotate.cancel(db, row) if cancel else rotate.start(db, row, settings))
        return list((await service.get_domain(db, name))["keys"])

    keys = in_workspace(state, workspace, work)
    lines = [f"{key['state']:10} {key['selector']}" for key in keys]
    hint = [] if cancel else [f"Publish the new ones: thurn domain show {name}, or thurn domain publish {name}"]
    emit(keys, as_json, "\n".join([*lines, *hint]))


@domain.command("publisher")
def domain_publisher(
    name: Name,
    provider: Annotated[str, typer.Option("--provider", help="rfc2136, cloudflare, desec, digitalocean …")] = "",
    zone: Annotated[str, typer.Option("--zone", help="The zone; empty: the domain itself.")] = "",
    forget: Annotated[bool, typer.Option("--forget", help="Destroy the way in.")] = False,
    as_json: Json = False,
    state: State = None,
    workspace: Workspace = "main",
) -> None:
    """Say where the domain's DNS is kept. How to get in is read from standard input, as one JSON object.

    rfc2136: {"server", "key_name", "key_secret"} and perhaps "port", "algorithm". The others: {"token"}.
    """
    access: dict[str, str] = {}
    if provider:
        try:
            given = json.loads(sys.stdin.read())
            access = {str(key): str(value) for key, value in given.items()}
        except (ValueError, AttributeError):
            fail('Standard input is to hold one JSON object, for example {"token": "…"}.')

    async def work(db: Connection, workspace_id: int, settings: Settings) -> Row | None:
        row = await service.get_domain(db, name)
        if forget:
            await publishing.forget(db, row)
        if provider:
            await publishing.put(db, row, settings, provider=provider, zone=zone, access=access)
        return await publishing.get(db, row)

    found = in_workspace(state, workspace, work)
    text = f"{found['provider']}, zone {found['zone']}" if found else "Thurn does not know where the DNS is kept."
    emit(found, as_json, text)


@domain.command("publish")
def domain_publish(
    name: Name,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    as_json: Json = False,
    state: State = None,
    workspace: Workspace = "main",
) -> None:
    """Create and replace the records in the domain's zone. Records of others stay."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> list[Change]:
        row = await service.get_domain(db, name)
        return await (publishing.preview if dry_run else publishing.publish)(db, row, settings)

    found = in_workspace(state, workspace, work)
    emit(
        {"published": not dry_run, "changes": [change.as_json() for change in found]},
        as_json,
        "\n".join(_line(change) for change in found if change.action != "keep") or "Everything is in place.",
    )


def _line(change: Change) -> str:
    lines = [f"{change.action:8} {change.record.type:5} {change.record.name}"]
    lines += [f"         {change.why}"] if change.why else []
    lines += [f"       - {value}" for value in change.remove] + [f"       + {value}" for value in change.add]
    return "\n".join(lines)
