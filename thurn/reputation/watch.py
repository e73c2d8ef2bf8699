"""Asking the block lists about our addresses and domains, keeping what they say, and telling people of changes."""

import asyncio
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

import dns.asyncresolver
import dns.exception
import dns.resolver
import structlog

from thurn.alerts import mended, notify
from thurn.db.connect import Connection, Row
from thurn.db.fetch import maybe, rows
from thurn.dns.facts import server_addresses
from thurn.mail.dns import make_resolver
from thurn.reputation.dnsbl import BlockList, Verdict, always_listed, judge, lists, lists_for, never_listed, query
from thurn.settings import Settings

log = structlog.get_logger()

PATIENCE = 5.0  # seconds for one question with its retries
AT_ONCE = 20
_DOMAINS = 2000
# Nobody lists these, and 127.0.0.2 is in every list for tests.
_OURS_ALONE = [
    ipaddress.ip_network(each)
    for each in ("0.0.0.0/8", "10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16",
                 "100.64.0.0/10", "::/127", "fc00::/7", "fe80::/10")
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Subject:
    """What is looked up. `workspace`: whose domain it is; None: an address of the server."""

    name: str
    workspace: int | None = None


def can_be_listed(address: str) -> bool:
    """Whether an address is one the world sees."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return not found.is_multicast and not any(found in net for net in _OURS_ALONE if net.version == found.version)


async def subjects(db: Connection, settings: Settings, resolver: dns.asyncresolver.Resolver) -> list[Subject]:
    """Every address mail leaves from, and every domain that is proven to be ours."""
    found = {str(address) for address in server_addresses(settings)}
    bound = "SELECT host(bind4) AS v4, host(bind6) AS v6 FROM egress WHERE kind = 'address' AND removed_at IS NULL"
    for row in await rows(db, bound):
        found |= {row["v4"], row["v6"]} - {None}
    for kind in ("A", "AAAA"):
        addresses = await _look(resolver, settings.hostname, kind)
        if addresses is None:  # nobody answers: what was looked at before is still ours
            known = await rows(db, "SELECT DISTINCT subject FROM listing WHERE workspace_id IS NULL")
            addresses = [row["subject"] for row in known]
        found |= set(addresses)
    domains = await rows(
        db, "SELECT name, workspace_id FROM domain WHERE proven_at IS NOT NULL ORDER BY id LIMIT %s", [_DOMAINS]
    )
    return [
        *(Subject(address) for address in sorted(found) if can_be_listed(address)),
        *(Subject(row["name"], row["workspace_id"]) for row in domains),
    ]


async def _look(resolver: dns.asyncresolver.Resolver, name: str, kind: str) -> list[str] | None:
    """Records as text, empty for a name or type that is not there, None when nobody answers."""
    try:
        answer = await resolver.resolve(f"{name.rstrip('.')}.", kind)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return []
    except (dns.exception.DNSException, UnicodeError, OSError):
        return None
    if kind == "TXT":
        return [b"".join(record.strings).decode("utf-8", "replace") for record in answer]
    return [str(record.address) for record in answer]


class Asking:
    """Questions of one round; each list is tried with its test entries before it is believed."""

    def __init__(self, resolver: dns.asyncresolver.Resolver) -> None:
        self._resolver, self._gate = resolver, asyncio.Semaphore(AT_ONCE)
        self._sound: dict[str, asyncio.Task[str]] = {}

    async def _ask(self, name: str, kind: str = "A") -> list[str] | None:
        async with self._gate:
            return await _look(self._resolver, name, kind)

    async def _trouble(self, of: BlockList) -> str:
        """Why a list cannot be believed; empty if it can."""
        never = await self._ask(never_listed(of))
        if never is None:
            return "it does not answer"
        if never:
            verdict = judge(of, never)
            return verdict.why if verdict.state == "unknown" else "it lists everything: it was given up, or is broken"
        if not (test := always_listed(of)):
            return ""
        always = await self._ask(test)
        if always is None:
            return "it does not answer"
        verdict = judge(of, always)
        if verdict.state == "unknown":
            return verdict.why
        # Some lists answer their test entry with a code of its own kind; none at all means: not to this resolver.
        return "" if always else "it does not answer this resolver: not even its test entry is there"

    async def verdict(self, of: BlockList, subject: str) -> Verdict:
        """What a list says about a subject."""
        if of.key not in self._sound:
            self._sound[of.key] = asyncio.create_task(self._trouble(of))
        if trouble := await self._sound[of.key]:
            return Verdict("unknown", (), trouble)
        answers = await self._ask(query(of, subject))
        if answers is None:
            return Verdict("unknown", (), "it does not answer")
        verdict = judge(of, answers)
        if verdict.state == "listed":
            said = await self._ask(query(of, subject), "TXT") or []
            words = " ".join("".join(c if c.isprintable() else " " for c in " ".join(said)).split())[:300]
            return Verdict("listed", verdict.codes, f"{verdict.why}. {words}".rstrip(". ") + ".")
        return verdict


async def look(db: Connection, settings: Settings) -> int:
    """One round over everything, on an autocommit connection; returns how many listings are open."""
    try:
        resolver = make_resolver(settings.nameservers, timeout=PATIENCE)
    except dns.resolver.NoResolverConfiguration:
        log.warning("no resolver, block lists cannot be asked")
        return 0
    wanted = await subjects(db, settings, resolver)
    asking = Asking(resolver)
    pairs = [(subject, of) for subject in wanted for of in lists_for(subject.name)]
    verdicts = await asyncio.gather(*(asking.verdict(of, subject.name) for subject, of in pairs))
    listed = 0
    for (subject, of), verdict in zip(pairs, verdicts, strict=True):
        async with db.transaction():
            listed += await keep(db, subject, of, verdict)
    await _forget(db, wanted)
    return listed


async def keep(db: Connection, subject: Subject, of: BlockList, verdict: Verdict) -> bool:
    """Write a verdict down and tell of what changed; True while the subject counts as listed.

    A listing goes on while its list cannot be asked: nothing was cleared.
    """
    was = await maybe(db, "SELECT * FROM listing WHERE subject = %s AND list = %s", [subject.name, of.key])
    open_now = bool(was and was["listed_at"] and not was["cleared_at"])
    begins, ends = verdict.state == "listed" and not open_now, verdict.state == "clear" and open_now
    row = await maybe(
        db,
        """INSERT INTO listing (subject, list, workspace_id, state, codes, why, listed_at, times)
           VALUES (%(subject)s, %(list)s, %(workspace)s, %(state)s, %(codes)s, %(why)s,
                   CASE WHEN %(begins)s THEN now() END, %(begins)s::int)
           ON CONFLICT (subject, list) DO UPDATE SET
             workspace_id = excluded.workspace_id, state = excluded.state, codes = excluded.codes, why = excluded.why,
             looked_at = now(), times = listing.times + excluded.times,
             listed_at = CASE WHEN %(begins)s THEN now() ELSE listing.listed_at END,
             cleared_at = CASE WHEN %(begins)s THEN NULL WHEN %(ends)s THEN now() ELSE listing.cleared_at END
           RETURNING *""",
        {
            "subject": subject.name, "list": of.key, "workspace": subject.workspace, "state": verdict.state,
            "codes": list(verdict.codes), "why": verdict.why, "begins": begins, "ends": ends,
        },
    )  # fmt: skip
    if row is None:
        raise LookupError("The listing was not written.")
    workspace = subject.workspace or await _house(db)
    if begins:
        await _tell(db, workspace, subject, of, verdict, was if was and was["times"] else None)
    elif ends:
        await mended(
            db, workspace, _key(subject.name, of.key), subject=f"{subject.name} is off {of.name} again",
            text=f"{of.name} no longer lists {subject.name}. Receivers notice within an hour or so.",
        )  # fmt: skip
    return bool(row["listed_at"] and not row["cleared_at"])


def _key(subject: str, of: str) -> str:
    return f"listing:{of}:{subject}"


async def _tell(
    db: Connection, workspace: int, subject: Subject, of: BlockList, verdict: Verdict, before: Row | None
) -> None:
    again = ""
    if before is not None and before["cleared_at"]:
        again = f" It was there before, until {before['cleared_at']:%d %b %Y}: what led to it may not be over."
    text = (
        f"{of.name} lists {subject.name}: {verdict.why} "
        f"{'Much mail' if of.major else 'Some mail'} is refused or goes to spam folders because of it.{again}\n\n"
        f"{of.do}\nRemoval: {of.delist}"
    )
    ours = subject.workspace is not None
    await notify(
        db, workspace, f"{subject.name} is on the block list {of.name}{' again' if again else ''}", text,
        _key(subject.name, of.key), level="bad" if of.major else "warn",
        link=f"domains/{subject.name}" if ours else "/house/reputation",
        act="Look at the domain" if ours else "Look at reputation",
    )  # fmt: skip


async def _house(db: Connection) -> int:
    row = await maybe(db, "SELECT id FROM workspace WHERE slug = 'main'")
    return int(row["id"]) if row else 1


async def _forget(db: Connection, wanted: Iterable[Subject]) -> None:
    """Drop what is no longer ours, or on a list we no longer ask, and its alerts."""
    names = [subject.name for subject in wanted]
    gone = await rows(
        db,
        """DELETE FROM listing WHERE NOT (subject = ANY(%s) AND list = ANY(%s))
           RETURNING subject, list, workspace_id""",
        [names, list(lists())],
    )
    for row in gone:
        workspace = row["workspace_id"] or await _house(db)
        await mended(db, workspace, _key(row["subject"], row["list"]), mail=False)
