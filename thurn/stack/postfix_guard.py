"""Where Postfix asks `guard` about a client. Without an answer it goes on as if there were no guard."""

from collections.abc import Mapping

from thurn.guard.own_mail import RECIPIENT
from thurn.guard.postfix_check import ASKED, DOOR, KNOWN


def _ask(port: int, context: str) -> str:
    how = f"timeout=3s, try_limit=1, default_action=DUNNO, policy_context={context}"
    return f"check_policy_service {{ inet:127.0.0.1:{port}, {how} }}"


def parameters(ports: Mapping[str, int]) -> dict[str, str]:
    """For main.cf: restrictions by name, to be used in others."""
    port = ports["guard_policy"]
    return {
        "guard_door": _ask(port, DOOR),
        "guard_own": _ask(port, RECIPIENT),
        # A recipient asked for and not found between the two questions is unknown.
        "guard_recipient": f"{_ask(port, ASKED)}, reject_unlisted_recipient, {_ask(port, KNOWN)}",
    }


# A banned client is refused as it connects, before it says a word.
OPTIONS = {"smtpd_delay_reject": "no", "smtpd_client_restrictions": "$guard_door"}
