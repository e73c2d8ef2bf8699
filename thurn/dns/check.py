"""Looking the records of a domain up in DNS, keeping what was found, and telling people what broke."""

import asyncio
import ipaddress
from dataclasses import dataclass, replace

import dns.resolver
from psycopg.types.json import Jsonb

from thurn.alerts import mail_owners, mended, notify
from thurn.db.connect import Connection
from thurn.dns.authority import Authority, look_up
from thurn.dns.facts import facts
from thurn.dns.records import Facts, Record, records, server_records
from thurn.dns.verdicts import Answers, Check, judge, pointed_from
from thurn.mail.dns import make_resolver
from thurn.mailhost import rotate
from thurn.mailhost.names import readable
from thurn.mailhost.service import get_domain_by_id
from thurn.settings import Settings
from thurn.web.words import count

__all__ = ["check_domain", "look_at", "look_up"]

PATIENCE = 5.0  # seconds for one look-up with all its retries
WHOLE = 7.5  # seconds for all of them together


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at DNS has given. `servers`: who was asked; none: the resolver."""

    checks: list[Check]
    servers: tuple[str, ...] = ()


def authority(settings: Settings) -> Authority:
    """The way to the name servers; raises dns.resolver.NoResolverConfiguration."""
    servers = settings.nameservers
    direct = [("the name server", host.strip("[]"), port) for host, port in servers if port != 53]
    return Authority(make_resolver(servers, timeout=PATIENCE), direct, patience=PATIENCE / 2.5)


async def look_at(of: Facts, settings: Settings) -> Look:
    """Verdicts on all records of a domain, looked up at the same time; takes eight seconds at most."""
    wanted = records(of)
    try:
        way = authority(settings)
    except dns.resolver.NoResolverConfiguration:
        return Look([judge(record, Answers("failed")) for record in wanted])
    return await look_by(way, of)


async def look_by(way: Authority, of: Facts) -> Look:
    """The same, by this way."""
    wanted = records(of)
    loop = asyncio.get_running_loop()
    until = loop.time() + WHOLE
    here = asyncio.ensure_future(_addresses(way, of.hostname))
    asked = asyncio.ensure_future(way.servers(of.name))
    looks = [asyncio.ensure_future(_answers(way, record, here)) for record in wanted]
    more: list[asyncio.Future[Answers]] = []
    pointers: list[Record] = []
    try:
        await asyncio.wait([here, asked, *looks], timeout=WHOLE)
        if not of.addresses and here.done():  # the address is only known now
            public = tuple(a for a in here.result().values if ipaddress.ip_address(a).is_global)
            pointers = [record for record in server_records(of.hostname, public) if record.kind == "ptr"]
            more = [asyncio.ensure_future(_answers(way, record, here)) for record in pointers]
            if more:
                await asyncio.wait(more, timeout=max(0.0, until - loop.time()))
        found = [look.result() if look.done() else Answers("timeout") for look in [*looks, *more]]
        checks = [judge(record, answers) for record, answers in zip([*wanted, *pointers], found, strict=True)]
        return Look(checks, asked.result() if asked.done() else ())
    finally:
        for task in (*looks, *more):
            task.cancel()
        here.cancel()
        asked.cancel()


async def _answers(way: Authority, record: Record, here: asyncio.Future[Answers]) -> Answers:
    """What is to be known about one record; `here` becomes the addresses of the server's own name."""
    if record.kind == "ptr":
        answers = await look_up(way.resolver, record.name, "PTR")
        wanted = record.values[0]
        if wanted not in {value.lower() for value in answers.values}:
            return answers
        kind = "AAAA" if ":" in pointed_from(record.name) else "A"
        return replace(answers, leads_to=(await way.look_up(wanted, kind)).values)
    if record.kind == "address" and not record.values:
        return await asyncio.shield(here)
    answers = await way.look_up(record.name, record.type)
    if record.type != "CNAME":
        return answers
    if answers.status == "nothing":  # an address there may do as well
        answers = await _addresses(way, record.name)
    if answers.values and record.values[0] not in {value.lower() for value in answers.values}:
        if not all(map(_is_address, answers.values)):  # an alias of something that may lead here all the same
            there = await _addresses(way, record.name)
            leads_here = there.values and set(there.values) <= set((await asyncio.shield(here)).values)
            return replace(answers, leads_to=answers.values) if leads_here else answers
        return replace(answers, leads_to=(await asyncio.shield(here)).values)
    return answers


async def _addresses(way: Authority, name: str) -> Answers:
    four, six = await asyncio.gather(way.look_up(name, "A"), way.look_up(name, "AAAA"))
    if four.values and six.values:
        return Answers("found", (*four.values, *six.values))
    return six if six.values else four


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


async def check_domain(db: Connection, domain_id: int, settings: Settings) -> list[Check]:
    """Look a domain's records up and keep the verdicts; `NotFound` if it is not ours.

    A domain counts as verified when everything that campaigns need is there, and no longer when one of these is broken.
    What cannot be told changes nothing. Owners are told of a record that was right and is not any more, and DKIM keys
    go on to where DNS allows.
    """
    domain = await get_domain_by_id(db, domain_id)
    look = await look_at(facts(domain, settings), settings)
    async with db.transaction():
        await db.execute("SELECT 1 FROM domain WHERE id = %s FOR UPDATE", [domain_id])  # one step at a time
        await _keep(db, domain_id, look)
        before = [Check.from_json(stored) for stored in domain["checks"]]
        await _tell(db, domain["workspace_id"], domain["name"], before, look.checks)
        await rotate.step(db, domain, look.checks, settings)
    return look.checks


async def _keep(db: Connection, domain_id: int, look: Look) -> None:
    needed = {check.level for check in look.checks if check.record.required}
    tracking = {check.level for check in look.checks if check.record.kind == "tracking"}
    await db.execute(
        """UPDATE domain SET checks = %(checks)s, checked_at = now(), nameservers = %(servers)s,
             verified_at = CASE WHEN %(broken)s THEN NULL WHEN %(right)s THEN coalesce(verified_at, now())
                                ELSE verified_at END,
             proven_at = CASE WHEN %(right)s THEN coalesce(proven_at, now()) ELSE proven_at END,
             tracking_right_at = CASE WHEN %(tracked)s THEN coalesce(tracking_right_at, now())
                                      WHEN %(untold)s THEN tracking_right_at END
           WHERE id = %(id)s""",
        {
            "checks": Jsonb([check.as_json() for check in look.checks]), "id": domain_id,
            "servers": list(look.servers), "broken": "bad" in needed, "right": needed <= {"ok", "warn"},
            "tracked": tracking == {"ok"}, "untold": tracking == {"unknown"},
        },
    )  # fmt: skip


def _stops(check: Check) -> bool:
    """Whether no campaign can be sent because of it."""
    return check.record.required and check.level == "bad"


def _key(check: Check) -> tuple[str, str]:
    return check.record.name, check.record.type


async def _tell(db: Connection, workspace: int, name: str, before: list[Check], now: list[Check]) -> None:
    """Tell the owners what broke since the last look, and what is right again: one mail for each."""
    was = {_key(check): check.level for check in before}
    broke, healed = [], []
    for check in now:
        key, shown = f"dns:{check.record.type}:{check.record.name}", readable(name)
        if check.level in ("bad", "warn") and was.get(_key(check)) == "ok":
            raised = await notify(
                db, workspace, f"{check.record.purpose} of {shown} broke", check.what, key, mail=False,
                level="bad" if _stops(check) else "warn", link=f"domains/{name}", act="Show the record",
            )  # fmt: skip
            broke += [check] if raised else []
        elif check.level == "ok" and await mended(db, workspace, key, mail=False):
            healed.append(check)
    for check in before:  # no longer wanted
        if _key(check) not in {_key(other) for other in now}:
            await mended(db, workspace, f"dns:{check.record.type}:{check.record.name}", mail=False)
    if broke:
        what = f"{broke[0].record.purpose}" if len(broke) == 1 else count(len(broke), "DNS record", "DNS records")
        lines = [f"{c.what}\n{c.record.type} {c.record.name}\n{c.fix}".rstrip() for c in broke]
        serious = any(map(_stops, broke))
        end = "Campaigns cannot be sent from this domain until it is mended." if serious else "Campaigns go on."
        text = "\n\n".join([*lines, end, "Thurn looks again every 10 minutes, and writes once when it is right."])
        await mail_owners(db, workspace, f"{what} of {readable(name)} broke", text)
    if healed:
        what = healed[0].record.purpose if len(healed) == 1 else count(len(healed), "DNS record", "DNS records")
        is_are = "is" if len(healed) == 1 else "are"
        text = "\n".join(check.what for check in healed)
        await mail_owners(db, workspace, f"{what} of {readable(name)} {is_are} right again", text)
