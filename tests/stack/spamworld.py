"""What the tests about spam share."""

import shutil
import smtplib
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import dict_row
from stackworld import DOMAIN, STRANGER, message, smtp, wait_for

from thurn.db.connect import conninfo
from thurn.secrets import Secrets
from thurn.settings import Settings

PROPER = "Please read this before Monday: the oven needs new stones, and the man from Kastl can come in January only."


def query(settings: Settings, sql: str, *values: Any) -> list[dict[str, Any]]:
    with psycopg.connect(conninfo(settings, "system"), autocommit=True, row_factory=dict_row) as db:
        cursor = db.execute(sql, values)  # type: ignore[call-overload]
        return cursor.fetchall() if cursor.description else []


def wish(settings: Settings, address: str, **columns: Any) -> None:
    """A mailbox's own wish; the tests that set one remove it again."""
    names, values = ", ".join(columns), list(columns.values())
    query(
        settings,
        f"""INSERT INTO spam_setting (workspace_id, domain_id, mailbox_id, {names})
            SELECT workspace_id, domain_id, id, {", ".join(["%s"] * len(values))} FROM mailbox WHERE address = %s""",  # noqa: S608
        *values,
        address,
    )


def list_sender(settings: Settings, address: str, verdict: str, sender: str) -> None:
    query(
        settings,
        """INSERT INTO spam_sender (workspace_id, domain_id, mailbox_id, verdict, sender)
           SELECT workspace_id, domain_id, id, %s, %s FROM mailbox WHERE address = %s""",
        verdict,
        sender,
        address,
    )


def forget(settings: Settings) -> None:
    """Nobody's wishes, no verdict, nothing held."""
    for table in ("spam_setting", "spam_sender", "spam_verdict", "held_mail"):
        query(settings, f"DELETE FROM {table}")  # noqa: S608


def hand_in(
    settings: Settings, recipients: list[str], points: int = 0, *, sender: str = STRANGER, body: str = "Hello.",
    headers: str = "",
) -> str:  # fmt: skip
    """Hand a mail to mx as a stranger whose server tries again; returns the text its subject has."""
    mark = uuid.uuid4().hex
    mail = f"X-Simulated-Spam: {points}\r\n{headers}".encode() + message(f"for {mark}", f"{body} {mark}")

    def accepted() -> bool:
        with smtp(settings) as client:
            try:
                client.sendmail(sender, recipients, mail)
            except smtplib.SMTPDataError as refused:
                if refused.smtp_code != 451:
                    raise
                return False
            return True

    wait_for(accepted)
    return mark


@contextmanager
def own_filter(settings: Settings, address: str, script: str) -> Iterator[None]:
    """A filter of the mailbox's owner, put where Dovecot keeps the active one."""
    [row] = query(
        settings, "SELECT split_part(address, '@', 2) || '/' || split_part(address, '@', 1) || '.' || id AS home "
        "FROM mailbox WHERE address = %s", address,
    )  # fmt: skip
    home = settings.state / "mail" / row["home"]
    active = home / "active.sieve"
    active.write_text(script)
    shutil.chown(active, "thurn-mail", "thurn-mail")
    try:
        yield
    finally:
        active.unlink()
        active.with_suffix(".svbin").unlink(missing_ok=True)


def learnt(settings: Settings) -> dict[str, int]:
    """How many mails each class of the domain's filter has learnt."""

    found = {"learns_spam": 0, "learns_ham": 0}
    for key in _memory(settings):
        if "_" not in key.removeprefix(f"RS{DOMAIN}"):  # those of single words are RS<domain>_<number>: hundreds
            for what in found:
                found[what] += int(_redis(settings, "HGET", key, what).strip() or 0)
    return found


def unlearn(settings: Settings) -> None:
    """The domain's filter knows nothing any more."""
    if keys := _memory(settings):
        _redis(settings, "DEL", *keys)


def _memory(settings: Settings) -> list[str]:
    return _redis(settings, "--scan", "--pattern", f"RS{DOMAIN}*").split()


def _redis(settings: Settings, *command: str) -> str:
    password = Secrets(settings.state).ensure("redis")
    return subprocess.run(
        ["redis-cli", "-p", str(settings.port["redis"]), *command],
        capture_output=True, text=True, check=True, env={"REDISCLI_AUTH": password},
    ).stdout  # fmt: skip
