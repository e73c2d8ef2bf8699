"""Looks at the certificates as clients do, writes down what they get, and tells people when one will not hold.

To look is also how a new host gets its certificate before the first visitor, and how it is renewed: Caddy gets those of
domains' hosts during a handshake only.
"""

import asyncio
import datetime as dt
import socket
import ssl
from collections.abc import Sequence

from cryptography import x509

from thurn.alerts.service import mended, notify
from thurn.certificates.reasons import reason
from thurn.certificates.verdict import NO_WEBMAIL, UNUSED, Verdict, judge, services
from thurn.db.connect import Connection, connect
from thurn.db.fetch import maybe
from thurn.mailhost import hosts
from thurn.mailhost.hosts import Host
from thurn.settings import LOOPBACK, Settings
from thurn.stack.postfix import EVERYWHERE

_PORTS = {"https": "https", "imap": "imaps", "smtp": "submissions"}
_PATIENCE = 30.0  # seconds; Caddy may be getting the certificate meanwhile
_PLACED = 20.0  # seconds until keeper has brought a new one to the mail services
_AT_A_TIME = 4


class Closed(Exception):
    """Nobody listens at the port: nothing can be said about certificates."""


async def look(settings: Settings) -> list[str]:
    """Look at every host; returns those whose certificate is not in order."""
    async with await connect(settings, "system", autocommit=True) as db:
        known = await hosts.every(db, settings)
        if not settings.tls:  # browsers meet no certificate of ours
            known = [host for host in known if host.name == settings.hostname.lower()]
        await db.execute("DELETE FROM certificate WHERE host <> ALL(%s)", [[host.name for host in known]])
        gate, troubled = asyncio.Semaphore(_AT_A_TIME), []

        async def one(host: Host) -> tuple[Host, Verdict | None]:
            async with gate:
                try:
                    return host, await look_at(host, settings)
                except Closed:
                    return host, None

        for looking in asyncio.as_completed(map(one, known)):
            host, verdict = await looking
            if verdict is not None:
                await _record(db, host, verdict)
                await _tell(db, host, verdict)
                if verdict.state in ("bad", "soon"):
                    troubled.append(host.name)
    return sorted(troubled)


async def look_at(host: Host, settings: Settings) -> Verdict:
    """What clients get at this host now; `Closed` if a service does not run."""
    follows = bool(host.domain) or host.purpose == "webmail"  # the other two say themselves where this server is
    if follows and not await hosts.leads_here(host.name, settings):
        return NO_WEBMAIL if host.purpose == "webmail" else UNUSED
    asked = services(host.name, host.purpose, tls=settings.tls, mail_host=settings.hostname.lower())
    wanted = settings.tls or settings.mail_certificate is not None
    end = asyncio.get_running_loop().time() + _PLACED
    while True:
        shown = {service: await asyncio.to_thread(_shown, settings, service, host.name) for service in asked}
        verdict = judge(
            host.name, shown, dt.datetime.now(dt.UTC), reason=reason(settings.state, host.name), wanted=wanted
        )
        on_its_way = verdict.state == "bad" and bool(verdict.used_by)  # one service has it, another not yet
        if not on_its_way or asyncio.get_running_loop().time() > end:
            return verdict
        await asyncio.sleep(1)


def _shown(settings: Settings, service: str, host: str) -> x509.Certificate | None:
    """The certificate a client is shown; it is judged later, so everything is taken here."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    address = LOOPBACK if settings.listen in EVERYWHERE else settings.listen
    try:
        link = socket.create_connection((address, settings.port[_PORTS[service]]), _PATIENCE)
    except OSError as error:
        raise Closed from error
    try:
        with link, context.wrap_socket(link, server_hostname=host) as secure:
            der = secure.getpeercert(binary_form=True)
    except OSError:  # among them every ssl.SSLError
        return None
    return x509.load_der_x509_certificate(der) if der else None


async def _record(db: Connection, host: Host, verdict: Verdict) -> None:
    await db.execute(
        """INSERT INTO certificate (host, workspace_id, purpose, state, issuer, serial, not_after, used_by, problem)
           VALUES (%(host)s, %(workspace)s, %(purpose)s, %(state)s, %(issuer)s, %(serial)s, %(not_after)s, %(used_by)s,
                   %(problem)s)
           ON CONFLICT (host) DO UPDATE SET
             workspace_id = excluded.workspace_id, purpose = excluded.purpose, state = excluded.state,
             issuer = excluded.issuer, serial = excluded.serial, not_after = excluded.not_after,
             used_by = excluded.used_by, problem = excluded.problem, checked_at = now()""",
        {
            "host": host.name, "workspace": host.workspace_id, "purpose": host.purpose, "state": verdict.state,
            "issuer": verdict.issuer, "serial": verdict.serial, "not_after": verdict.not_after,
            "used_by": list(verdict.used_by), "problem": verdict.problem,
        },
    )  # fmt: skip


async def _tell(db: Connection, host: Host, verdict: Verdict) -> None:
    """An alert when it is not in order, and its end when it is again."""
    key = f"certificate:{host.name}"
    async with db.transaction():
        if await maybe(db, "SELECT 1 FROM workspace WHERE id = %s", [host.workspace_id]) is None:
            return
        if verdict.state in ("bad", "soon"):
            subject = f"The certificate of {host.name} " + (
                "is not valid" if verdict.state == "bad" else "runs out soon"
            )
            await notify(
                db, host.workspace_id, subject, verdict.problem, key,
                level="bad" if verdict.state == "bad" else "warn", link="domains/certificates", act="Show certificates",
            )  # fmt: skip
        else:
            subject = f"The certificate of {host.name} is in order again"
            await mended(db, host.workspace_id, key, subject=subject, text=f"{subject}. There is nothing left to do.")


__all__: Sequence[str] = ("Closed", "look", "look_at")
