"""What Rspamd reports of a mail, made into what is stored: nothing of it is taken to be short or printable."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from thurn.db.connect import Connection
from thurn.db.fetch import maybe
from thurn.spam.wishes import mailboxes_of

_SYMBOLS = 60
_RESULTS = {
    "spf": {"R_SPF_ALLOW": "pass", "R_SPF_FAIL": "fail", "R_SPF_SOFTFAIL": "softfail", "R_SPF_NEUTRAL": "neutral",
            "R_SPF_NA": "none", "R_SPF_DNSFAIL": "temperror", "R_SPF_PERMFAIL": "permerror"},
    "dkim": {"R_DKIM_ALLOW": "pass", "R_DKIM_REJECT": "fail", "R_DKIM_NA": "none", "R_DKIM_TEMPFAIL": "temperror",
             "R_DKIM_PERMFAIL": "permerror"},
    "dmarc": {"DMARC_POLICY_ALLOW": "pass", "DMARC_POLICY_REJECT": "fail", "DMARC_POLICY_QUARANTINE": "fail",
              "DMARC_POLICY_SOFTFAIL": "fail", "DMARC_NA": "none", "DMARC_DNSFAIL": "temperror",
              "DMARC_BAD_POLICY": "permerror"},
    "arc": {"ARC_ALLOW": "pass", "ARC_REJECT": "fail", "ARC_INVALID": "fail", "ARC_DNSFAIL": "temperror",
            "ARC_NA": "none"},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Verdict:
    """Rspamd's word on one mail."""

    queue_id: str
    action: str
    score: float
    required: float
    symbols: list[dict[str, Any]]
    mail_from: str
    header_from: str
    rcpts: list[str]
    subject: str
    message_id: str
    ip: str
    login: str
    answered: list[str]  # what of In-Reply-To and References may be ours, if a person wrote it

    def result(self, method: str) -> str:
        """Of `spf`, `dkim`, `dmarc` or `arc`, in a word of RFC 8601; empty when it was not looked at."""
        said = _RESULTS[method]
        return next((said[each["name"]] for each in self.symbols if each["name"] in said), "")


def line(value: object, longest: int) -> str:
    """One printable line of at most so many characters."""
    text = value if isinstance(value, str) else ""
    return " ".join("".join(c if c.isprintable() else " " for c in text[: longest * 4]).split())[:longest]


def number(value: object) -> float:
    """A finite number; 0 for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or abs(value) > 1e6:
        return 0.0
    return float(value)


def verdict(report: Mapping[str, Any]) -> Verdict:
    """A report as `thurn.lua` sends it."""
    rcpts = report.get("rcpts")
    return Verdict(
        queue_id=line(report.get("queue_id"), 40),
        action=line(report.get("action"), 40),
        score=round(number(report.get("score")), 2),
        required=round(number(report.get("required")), 2),
        symbols=symbols(report.get("symbols")),
        mail_from=line(report.get("from"), 320).lower(),
        header_from=line(report.get("header_from"), 320),
        rcpts=[line(each, 320).lower() for each in _list(rcpts)[:100]],
        subject=line(report.get("subject"), 300),
        message_id=line(report.get("message_id"), 300),
        ip=line(report.get("ip"), 60),
        login=line(report.get("user"), 320).lower(),
        answered=[line(each, 80) for each in _list(report.get("answered"))[:50]],
    )


def symbols(value: object) -> list[dict[str, Any]]:
    """What weighs most first; what says nothing of the score last."""
    found = [
        {
            "name": line(each.get("name"), 80),
            "score": round(number(each.get("score")), 2),
            "options": [line(option, 200) for option in _list(each.get("options"))[:6]],
        }
        for each in _list(value)
        if isinstance(each, Mapping)
    ]
    named = sorted((each for each in found if each["name"]), key=lambda each: -abs(float(str(each["score"]))))
    # Results of authentication are kept however little they weigh.
    known = {name for said in _RESULTS.values() for name in said}
    first, rest = named[:_SYMBOLS], named[_SYMBOLS:]
    return first + [each for each in rest if each["name"] in known]


def parse(body: bytes) -> Mapping[str, Any]:
    """The JSON object of a request; `ValueError` if it is none."""
    report = json.loads(body.decode("utf-8", "replace"))
    if not isinstance(report, dict):
        raise ValueError("not an object")
    return report


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


async def store(db: Connection, said: Verdict) -> None:
    """Keep the verdict for every workspace the mail concerns, each with its own recipients only."""
    concerned: dict[int, list[str]] = {}
    for recipient in said.rcpts:
        for workspace in set((await mailboxes_of(db, [recipient])).values()) or await _bounce_host(db, recipient):
            concerned.setdefault(workspace, []).append(recipient)
    if said.login:
        row = await maybe(db, "SELECT workspace_id FROM mailbox WHERE address = %s", [said.login])
        if row is not None:  # who sent it sees to whom
            concerned[row["workspace_id"]] = said.rcpts
    for workspace, rcpts in concerned.items():
        await db.execute(
            """INSERT INTO spam_verdict (workspace_id, queue_id, action, score, required, symbols, mail_from,
                 header_from, rcpts, subject, message_id, ip, login, spf, dkim, dmarc, arc)
               VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)""",
            [
                *(workspace, said.queue_id, said.action, said.score, said.required, Jsonb(said.symbols)),
                *(said.mail_from, said.header_from, rcpts, said.subject, said.message_id, said.ip, said.login),
                *(said.result(method) for method in ("spf", "dkim", "dmarc", "arc")),
            ],
        )


async def _bounce_host(db: Connection, recipient: str) -> Iterable[int]:
    domain = recipient.rpartition("@")[2]
    row = await maybe(db, "SELECT workspace_id FROM domain WHERE bounce_host = %s", [domain])
    return [] if row is None else [row["workspace_id"]]
