"""Who hands in mail must still know a good password: Postfix asks for it once, and a session may stay for hours.

Dovecot writes down which process of Postfix's somebody signed in to, and by which password (`mta.note_session`). At
each recipient and at the end of each mail it is looked whether that password is still good: not changed, revoked or
expired, its mailbox not disabled or removed. If it is not, Postfix says why and hangs up; a mail program then signs in
anew, or asks for the password. Other sessions of the mailbox go on.
"""

import re
from collections.abc import Mapping

from thurn.db.connect import Pool
from thurn.db.fetch import maybe
from thurn.mailhost.sending import STAGE
from thurn.settings import Settings

RECIPIENT = "own-recipient"  # set by thurn/stack/postfix_guard.py

# 421: Postfix closes the connection with it.
_GONE = "421 4.7.0 The password you signed in with does not open this mailbox any more, please sign in again"
_PROCESS = re.compile(r"([0-9a-f]{1,7})\.")


async def check(pool: Pool, settings: Settings, attributes: Mapping[str, str]) -> str:
    """The guard's question about who is signed in (thurn/guard/policy.py)."""
    login = attributes.get("sasl_username", "")
    now = attributes.get("policy_context") == RECIPIENT or attributes.get("protocol_state") == STAGE
    if not login or not now:
        return "DUNNO"
    async with pool.connection() as db:
        good = await maybe(
            db,
            """SELECT 1 FROM mta.open_session JOIN mta.good_password USING (address, opened_by)
               WHERE pid = %s AND served_by = 'postfix' AND address = %s""",
            [process(attributes.get("instance", "")), login.lower()],
        )
    return "DUNNO" if good else _GONE


def process(instance: str) -> int:
    """The number of the smtpd that asks: Postfix begins its name for a mail with it, in hexadecimal. 0: not there."""
    number = _PROCESS.match(instance)
    return int(number[1], 16) if number else 0
