"""Dovecot: IMAP, POP3, ManageSieve, delivery by LMTP, and the sign-in of Postfix's submission."""

from collections.abc import Mapping
from pathlib import Path

from thurn.stack import dovecot_boxes, dovecot_guard, dovecot_spam
from thurn.stack.files import Directory, File
from thurn.stack.tls import DOVECOT_NAMES, PAIR

# Without `/` and `%`, for the address becomes a path.
_ADDRESS_CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_@+='&~!#"

# For TLS 1.2; every suite of TLS 1.3 is as good. Forward secrecy and authenticated encryption, nothing else.
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"

_FOLDERS = (("Drafts", "Drafts"), ("Sent", "Sent"), ("Junk", "Junk"), ("Trash", "Trash"), ("Archive", "Archive"))

# Who the user is, is asked last before a session begins: there it is noted which password opened it, for `keeper`.
_QUERIES = """driver = pgsql
password_query = SELECT address AS "user", password, opened_by \\
  FROM mta.dovecot_user JOIN mta.good_password USING (address) WHERE address = lower('%u') AND opened_by LIKE 'own %%'
user_query = SELECT '{mail}/' || home AS home, '*:bytes=' || quota_bytes AS quota_rule, \\
    level AS sieve_env_junk_level, mark AS sieve_env_junk_mark, \\
    {onward}, \\
    mta.note_session('%{session_pid}', address, '%{passdb:opened_by}', 'dovecot') AS opened_by \\
  FROM mta.dovecot_user JOIN mta.dovecot_junk USING (address) WHERE address = lower('%u')
iterate_query = SELECT address AS username FROM mta.dovecot_user
"""

# An app password is found by its hash: Dovecot makes it, so that PostgreSQL never meets the password itself. Those of
# webmail and of imports open only the inner doors, which nobody reaches from outside.
_APP_PASSWORDS = """driver = pgsql
password_query = SELECT address AS "user", NULL AS password, 'Y' AS nopassword, id AS app_password, \\
    'app ' || id AS opened_by \\
  FROM mta.dovecot_app_password \\
  WHERE address = lower('%u') AND secret = '%{sha256:password}' \\
    AND (scope = 'programs' OR '%s' = 'webmail' OR '%a' IN ({inner}))
"""

# Postfix asks for no user, only for the password: once that is found to be right, it is noted which one it was, for
# `guard` (thurn/guard/own_mail.py). Nothing is ever found here, so this opens nothing.
_HAND_INS = """driver = pgsql
password_query = SELECT '%u' AS "user", NULL AS password \\
  WHERE '%s' IN ('smtp', 'webmail') \\
    AND mta.note_session('%{pid}', lower('%u'), '%{passdb:opened_by}', 'postfix') IS NULL
"""


def directories() -> list[Directory]:
    """Dovecot's own folders and the place of all mail."""
    return [
        Directory("dovecot"),
        Directory("dovecot/etc"),
        Directory("dovecot/run"),
        Directory("dovecot/state"),
        Directory("dovecot/sieve", 0o750, "root:thurn-mail"),
        Directory("dovecot/bin", 0o750, "root:thurn-mail"),
        Directory("mail", 0o700, "thurn-mail:thurn-mail"),
    ]


def render(
    state: Path,
    ports: Mapping[str, int],
    *,
    hostname: str,
    listen: str,
    database: str,
    controller_password: str,
    released: str,
    guard_secret: str,
    nonce: str,
) -> list[File]:
    """All files. `database` is a libpq connection string for the role `thurn_dovecot`."""
    return [
        File("dovecot/etc/dovecot.conf", _main(state, ports, hostname, listen or "*")),
        File("dovecot/etc/sql.conf", _sql(database, state / "mail"), 0o640, "root:dovecot"),
        File("dovecot/etc/app-passwords.conf", _app_passwords(database, ports), 0o640, "root:dovecot"),
        File("dovecot/etc/hand-ins.conf", f"connect = {database}\n" + _HAND_INS, 0o640, "root:dovecot"),
        *dovecot_guard.render(ports, secret=guard_secret, nonce=nonce),
        *dovecot_boxes.render(state, database),
        *dovecot_spam.render(state, ports, controller_password=controller_password, released=released),
    ]


def _sql(database: str, mail: Path) -> str:
    # In the query `%` would begin one of Dovecot's variables, `'` end the text.
    folder = str(mail).replace("%", "%%").replace("'", "''")
    return f"connect = {database}\n" + _QUERIES.replace("{mail}", folder).replace(
        "{onward}", dovecot_boxes.user_fields()
    )


def _app_passwords(database: str, ports: Mapping[str, int]) -> str:
    inner = ", ".join(f"'{ports[door]}'" for door in ("webmail_imap", "webmail_sieve"))
    return f"connect = {database}\n" + _APP_PASSWORDS.replace("{inner}", inner)


def _main(state: Path, ports: Mapping[str, int], hostname: str, listen: str) -> str:
    folders = "\n".join(
        f"  mailbox {name} {{\n    auto = subscribe\n    special_use = \\{use}\n  }}" for name, use in _FOLDERS
    )
    return f"""# Rendered by Thurn.
base_dir = {state}/dovecot/run
state_dir = {state}/dovecot/state
instance_name = thurn
listen = {listen}
protocols = imap pop3 lmtp sieve
log_path = /dev/stderr
login_greeting = Ready.

# Else whoever is signed in is thrown out six seconds after a certificate was renewed.
shutdown_clients = no

ssl = required
ssl_cert = <{state}/{PAIR}
ssl_key = <{state}/{PAIR}
ssl_min_protocol = TLSv1.2
ssl_cipher_list = {CIPHERS}
ssl_curve_list = X25519:P-256:P-384
ssl_prefer_server_ciphers = yes
ssl_options = no_compression no_ticket
!include {state}/{DOVECOT_NAMES}

disable_plaintext_auth = yes
auth_mechanisms = plain login
auth_username_chars = {_ADDRESS_CHARACTERS}
# No cache: what is revoked or disabled is so at once, and an app password is found by its own hash each time.
auth_cache_size = 0
{dovecot_guard.include(state)}
passdb {{
  driver = sql
  args = {state}/dovecot/etc/app-passwords.conf
  result_success = continue-ok
}}
passdb {{
  driver = sql
  args = {state}/dovecot/etc/sql.conf
  skip = authenticated
  result_success = continue-ok
}}
passdb {{
  driver = sql
  args = {state}/dovecot/etc/hand-ins.conf
  skip = unauthenticated
}}
userdb {{
  driver = sql
  args = {state}/dovecot/etc/sql.conf
  default_fields = uid=thurn-mail gid=thurn-mail
}}

first_valid_uid = 1
mail_location = maildir:~/Maildir
mail_plugins = quota quota_clone
mailbox_list_index = yes
recipient_delimiter = +
postmaster_address = postmaster@{hostname}
hostname = {hostname}
# What a filter sends (forwarding, vacation) leaves by the door of mx that rewrites its envelope sender.
submission_host = 127.0.0.1:{ports["filters"]}
quota_full_tempfail = yes
namespace inbox {{
  inbox = yes
{folders}
}}
plugin {{
{dovecot_boxes.plugin(state)}  sieve = file:~/sieve;active=~/active.sieve
  sieve_before = {state}/dovecot/sieve/junk.sieve
  # What the portal wrote: one of the mailbox's scripts that is run without being the active one. (2 sends on.)
  sieve_before3 = file:~/sieve/thurn.sieve
{dovecot_spam.plugin(state)}}}
protocol imap {{
  mail_plugins = $mail_plugins imap_quota imap_sieve
  mail_max_userip_connections = 50
}}
protocol lmtp {{
  mail_plugins = $mail_plugins sieve
}}

service imap-login {{
  inet_listener imap {{
    port = {ports["imap"]}
  }}
  inet_listener imaps {{
    port = {ports["imaps"]}
    ssl = yes
  }}
  inet_listener webmail {{
    address = 127.0.0.1
    port = {ports["webmail_imap"]}
  }}
}}
service pop3-login {{
  inet_listener pop3 {{
    port = 0
  }}
  inet_listener pop3s {{
    port = {ports["pop3s"]}
    ssl = yes
  }}
}}
service managesieve-login {{
  inet_listener sieve {{
    port = {ports["managesieve"]}
  }}
  inet_listener webmail {{
    address = 127.0.0.1
    port = {ports["webmail_sieve"]}
  }}
}}
service lmtp {{
  unix_listener {state}/mx/queue/private/dovecot-lmtp {{
    mode = 0600
    user = postfix
    group = postfix
  }}
  # Where our own machinery hands in mail: what was held and is let through, and lists of what is held.
  unix_listener {state}/{dovecot_spam.DOOR} {{
    mode = 0600
    user = thurn
    group = thurn
  }}
}}
{dovecot_boxes.services(state, ports)}service auth {{
  # Argon2 takes 64 MB for a check. This process makes them one after the other: 86 MB at most.
  vsz_limit = 1 G
  # Called `…-login`, for Dovecot believes only such clients which process they are (`pid` in hand-ins.conf).
  unix_listener {state}/mx/queue/private/auth-login {{
    mode = 0600
    user = postfix
    group = postfix
  }}
}}
service auth-worker {{
  vsz_limit = 1 G
}}
"""
