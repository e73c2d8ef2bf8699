"""What Dovecot does for mailboxes: sends mail on at delivery, keeps quotas, and says how full each of them is."""

from collections.abc import Mapping
from pathlib import Path

from thurn.stack.files import File

MOST_ONWARD = 12  # ten targets of a mailbox, and copies for the record by two rules of the administrator
OVER_QUOTA = "452 4.2.2 This mailbox is full. Its owner can make room; the mail is tried again until then"

# One script for everybody; who gets the mail comes with the user (mta.dovecot_user). It runs after the spam filter,
# which stops at what is spam. A value is data here, never Sieve. What was sent on from here and has come round again is
# dropped if it stayed the first time, and stays now if it did not.
_ONE = """if environment :matches "vnd.dovecot.config.onward_{i}" "?*" {{ redirect :copy "${{0}}"; }}
"""
_ONWARD = (
    """require ["copy", "variables", "environment", "vnd.dovecot.environment"];
if header :is "X-Sieve-Redirected-From" "${env.vnd.dovecot.config.self}" {
  if not environment :is "vnd.dovecot.config.onward_only" "yes" { discard; }
  stop;
}
"""
    + "".join(_ONE.format(i=i) for i in range(1, MOST_ONWARD + 1))
    + """if environment :is "vnd.dovecot.config.onward_only" "yes" { discard; stop; }
"""
)


def render(state: Path, database: str) -> list[File]:
    """The script, and where usage is written to."""
    return [
        File("dovecot/sieve/onward.sieve", _ONWARD, 0o640, "root:thurn-mail"),
        File("dovecot/etc/quota.conf", _quota(database), 0o640, "root:dovecot"),
    ]


def user_fields() -> str:
    """What the script wants to know of a user, as a part of Dovecot's `user_query`; there is no field for a NULL."""
    targets = ", ".join(f"onward[{i}] AS sieve_env_onward_{i}" for i in range(1, MOST_ONWARD + 1))
    return f"{targets}, onward_only AS sieve_env_onward_only, address AS sieve_env_self, address AS sieve_user_email"


def _quota(database: str) -> str:
    maps = "".join(
        f"map {{\n  pattern = priv/quota/{what}\n  table = mta.quota_usage\n  username_field = username\n"
        f"  value_field = {column}\n}}\n"
        for what, column in (("storage", "bytes"), ("messages", "messages"))
    )
    return f"connect = {database}\n{maps}"


def plugin(state: Path) -> str:
    """Settings of the plugins."""
    return f"""  quota = count:Mailbox
  quota_vsizes = yes
  quota_status_success = DUNNO
  quota_status_nouser = DUNNO
  quota_status_overquota = {OVER_QUOTA}
  quota_exceeded_message = This mailbox is full.
  quota_clone_dict = proxy::quota
  sieve_before2 = {state}/dovecot/sieve/onward.sieve
  sieve_max_redirects = {MOST_ONWARD}
  # Whose mailbox wrote it, as the sender at the door `filters`, where that decides who may be signed for: never what a
  # script says (`:from`). Rspamd makes it the empty sender of RFC 3834 there (thurn/stack/rspamd.lua).
  sieve_vacation_send_from_recipient = yes
  sieve_notify_mailto_envelope_from = user_email
"""


def services(state: Path, ports: Mapping[str, int]) -> str:
    """Postfix asks at RCPT time whether a mailbox is full; a delivery that finds it full is put off, not refused."""
    return f"""dict {{
  quota = pgsql:{state}/dovecot/etc/quota.conf
}}
service dict {{
  unix_listener dict {{
    mode = 0600
    user = thurn-mail
  }}
}}
service quota-status {{
  executable = quota-status -p postfix
  client_limit = 1
  inet_listener {{
    address = 127.0.0.1
    port = {ports["quota_status"]}
  }}
}}
"""
