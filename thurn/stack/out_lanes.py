"""What `keeper` does about sending addresses: from the database into both Postfix instances, by reload, losing nothing.

A reload has the queue manager start again and look at all it holds anew; a mail that is being delivered meanwhile is
skipped (Postfix locks it), so none goes twice. The same reload makes a suspension act on what is in Postfix already.
"""

import subprocess
from itertools import takewhile

import psycopg
import structlog
from cryptography.exceptions import InvalidTag
from psycopg.rows import dict_row

from thurn.db.connect import conninfo
from thurn.relays.service import door_of
from thurn.settings import Settings
from thurn.stack.files import File, place
from thurn.stack.keeper import Kept
from thurn.stack.out_plan import PLAN, Plan, load_plan, plan_of
from thurn.stack.postfix_out import OPEN, READ, TRANSPORTS, password_file, transports
from thurn.stack.prepare import mail_servers

log = structlog.get_logger()

_EGRESSES = """
SELECT e.name, host(e.bind4) AS bind4, host(e.bind6) AS bind6, e.helo, r.host, r.port, r.security, r.fingerprint,
       r.username, r.password, r.connections
FROM egress e LEFT JOIN relay r ON r.egress_id = e.id
WHERE e.node = %s AND (e.kind = 'address' OR r.host IS NOT NULL)
ORDER BY e.removed_at IS NOT NULL, NOT e.enabled, e.id
"""
_OVERRIDES = """
SELECT e.name AS egress, l.provider, l.connections, l.per_connection
FROM provider_limit l LEFT JOIN egress e ON e.id = l.egress_id
WHERE (l.egress_id IS NULL OR e.node = %s) AND (l.connections IS NOT NULL OR l.per_connection IS NOT NULL)
ORDER BY l.provider, e.name
"""
_PEOPLE = """
SELECT e.name FROM pool_rule r JOIN pool_egress p ON p.pool_id = r.pool_id JOIN egress e ON e.id = p.egress_id
WHERE r.stream = 'people' AND e.node = %s AND e.kind = 'address' AND e.enabled AND e.removed_at IS NULL
ORDER BY p.weight DESC, e.id LIMIT 1
"""


def _egresses(settings: Settings) -> str:
    """Relays are the main machine's: no other may read their passwords."""
    return _EGRESSES.replace("r.password", "NULL::bytea AS password") if settings.joined else _EGRESSES


def wished(settings: Settings) -> Plan:
    """The plan as the database has it."""
    node = [settings.node]
    with psycopg.connect(conninfo(settings, "system"), connect_timeout=3, row_factory=dict_row) as db:
        people = db.execute(_PEOPLE, node).fetchone()
        return plan_of(
            db.execute(_egresses(settings), node).fetchall(),
            db.execute(_OVERRIDES, node).fetchall(),
            people["name"] if people else "",
        )


def wanted(settings: Settings) -> list[File]:
    """Both instances' configuration, if the plan is not the loaded one."""
    plan = wished(settings)
    if plan == load_plan(settings.state):
        return []
    files = [*mail_servers(settings, plan), *passwords(settings)]
    # Placed, but killed before the reload: nothing would differ, and nobody would be told.
    if all(_same(settings, file) for file in files):
        loaded(settings, plan, {file.path for file in files})
        return []
    return files


def passwords(settings: Settings) -> list[File]:
    """What Postfix signs in with at relays, for root alone. A password that cannot be unsealed is left out."""
    with psycopg.connect(conninfo(settings, "system"), connect_timeout=3, row_factory=dict_row) as db:
        found = db.execute(_egresses(settings), [settings.node]).fetchall()
    files = []
    for row in found:
        if row["password"] is None:
            continue
        try:
            door = door_of(row, settings)
        except InvalidTag:
            log.warning("a relay's password was sealed with another master secret", relay=row["name"])
            continue
        line = f"[{door.host}]:{door.port} {door.username}:{door.password}\n"
        files.append(File(password_file(row["name"]), line, 0o600))
    return files


def _tidy(settings: Settings) -> None:
    """No password stays of a relay that is gone."""
    wanted = {file.path for file in passwords(settings)}
    for path in (settings.state / "out" / "etc").glob("password-*"):
        if str(path.relative_to(settings.state)) not in wanted:
            path.unlink()


def _same(settings: Settings, file: File) -> bool:
    path = settings.state / file.path
    return path.exists() and path.read_text() == file.text


def changed(settings: Settings, paths: set[str]) -> None:
    """Have Postfix read it, then say that it is loaded."""
    loaded(settings, wished(settings), paths)


def loaded(settings: Settings, plan: Plan, paths: set[str]) -> None:
    """Reload what changed and write the plan down, unless it has changed again: then the next look does it all.

    The table comes first: mail of a new egress would leave by the first one until Postfix has read it.
    """
    own = transports(
        settings.port, plan, listen=settings.listen, simulate=settings.simulate, receivers=settings.receivers,
        people=not settings.joined,
    )  # fmt: skip
    text = _head(settings) + own
    place(settings.state, [File(TRANSPORTS, text, 0o644, "thurn:thurn"), File(READ, text)])
    for instance in ("mx", "out"):
        if any(path.startswith(f"{instance}/") for path in paths):
            _reload(settings, instance)
    if all(_same(settings, file) for file in mail_servers(settings, plan)):
        _tidy(settings)
        place(settings.state, [File(PLAN, plan.text())])


def table(settings: Settings) -> list[File]:
    """The table that the sender writes, to have Postfix read it: of a regular expression it does not see a change."""
    try:
        return [File(READ, (settings.state / TRANSPORTS).read_text())]
    except FileNotFoundError:
        return []


def _head(settings: Settings) -> str:
    """Which lanes the sender has suspended or leads elsewhere: the head of that table."""
    lines = "".join(file.text for file in table(settings)).splitlines()
    return "".join(f"{line}\n" for line in takewhile(lambda line: line != OPEN, lines))


def _reload(settings: Settings, instance: str) -> None:
    """Postfix that does not run reads it when it starts."""
    subprocess.run(
        ["postfix", "-c", f"{settings.state}/{instance}/etc", "reload"], cwd="/", capture_output=True, check=False
    )


KEPT = {
    "table of lanes": Kept(table, lambda settings, _: _reload(settings, "out")),
    "sending addresses": Kept(wanted, changed),
}
