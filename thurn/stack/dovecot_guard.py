"""Dovecot's authentication policy: before each password it asks `guard`, afterwards it tells how that went.

Dovecot's own slowing of addresses is off: it forgets with every restart, and knows nothing of the web and the portal.
"""

from collections.abc import Mapping
from pathlib import Path

from thurn.stack.files import File

CONFIG = "dovecot/etc/guard.conf"
# The report says with which app password somebody came: a field of the passdb (thurn/stack/dovecot.py).
_ATTRIBUTES = (
    "login=%{requested_username} pwhash=%{hashed_password} remote=%{rip} device_id=%{client_id} protocol=%s "
    "app_password=%{passdb:app_password}"
)


def render(ports: Mapping[str, int], *, secret: str, nonce: str) -> list[File]:
    """The file that dovecot.conf includes; apart from it because nobody else may read the secret."""
    text = f"""# Rendered by Thurn.
auth_policy_server_url = http://127.0.0.1:{ports["guard"]}/sign-in
auth_policy_server_api_header = Authorization: Bearer {secret}
auth_policy_server_timeout_msecs = 2000
auth_policy_hash_nonce = {nonce}
auth_policy_hash_truncate = 12
auth_policy_request_attributes = {_ATTRIBUTES}
auth_policy_check_before_auth = yes
auth_policy_check_after_auth = no
auth_policy_report_after_auth = yes
# Without `guard` people still sign in; each failure then costs auth_failure_delay.
auth_policy_reject_on_fail = no
imap_id_retain = yes
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
"""
    return [File(CONFIG, text, 0o640, "root:dovecot")]


def include(state: Path) -> str:
    """The line of dovecot.conf that reads it. `try`: a tool of another user that reads the configuration goes on."""
    return f"!include_try {state}/{CONFIG}"
