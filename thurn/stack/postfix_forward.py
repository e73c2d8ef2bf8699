"""The doors of Postfix `mx` by which mail leaves again, under a return address of ours (thurn/mail/srs.py).

Both are on loopback. By `filters` comes what Dovecot's filters send (forwarding, absence replies): Rspamd does not
judge it, but signs what a mailbox itself says (thurn/stack/rspamd.lua). By `forward` comes what `mx` itself brings

- copies and aliases whose target is somewhere else: the view makes `franz=elsewhere.example@forward.invalid` of
  `franz@elsewhere.example`, so that only this copy is rewritten and not what stays in the house;
- mail that comes back to a return address: it goes to whom the mail was from.

Mail for a domain here is not rewritten twice, and nothing that people hand in is.
"""

from collections.abc import Mapping
from pathlib import Path

from thurn.stack.files import File
from thurn.stack.postfix import Service

DOMAIN = "forward.invalid"  # RFC 2606: exists nowhere

# Postfix puts a detail of the address that was written to behind the target: it is for nobody out there.
_CARRIED = r"/^(.+)=([^=@+]+)(\+[^@]*)?@forward\.invalid$/ $1@$2" + "\n"
_RETURN_ADDRESSES = r"/^SRS[01][=+-]/ only_returned" + "\n"
_NULL_SENDER = r"!/^<>$/ 550 5.7.1 This address takes returned mail only" + "\n"
# Said by the filter at delivery already for mailboxes; an alias that leads out has no filter. Seen in the log.
_SPAM = r"/^X-Spam: Yes/ DISCARD spam is not sent on" + "\n"
# By which mailbox: for the trace (thurn/trace/lines.py).
_NOTED = r"""/^X-Sieve-Redirected-From:/ INFO sent on
/^Auto-Submitted: auto-(replied|notified)/ INFO answered
"""
FILTERS = "FILTERS"  # what the door `filters` calls itself to Rspamd


def files(ports: Mapping[str, int], hostname: str) -> list[File]:
    """Tables of the door."""
    door = f"inner:[127.0.0.1]:{ports['forward']}"
    return [
        File("mx/etc/forward_transports", f"{DOMAIN} {door}\n{hostname} {door}\n"),
        File("mx/etc/forward_carried", _CARRIED),
        File("mx/etc/forward_spam", _SPAM),
        File("mx/etc/filters_noted", _NOTED),
        File("mx/etc/return_addresses", _RETURN_ADDRESSES),
        File("mx/etc/null_sender", _NULL_SENDER),
    ]


def services(state: Path, ports: Mapping[str, int]) -> list[Service]:
    """The doors and their cleanups, which alone rewrite."""
    maps = f"socketmap:inet:127.0.0.1:{ports['guard_maps']}"
    door = {
        "mynetworks": "127.0.0.0/8",
        "smtpd_tls_security_level": "none",
        "smtpd_relay_restrictions": "permit_mynetworks, reject",
        "smtpd_recipient_restrictions": "permit_mynetworks, reject",
    }
    cleanup = {
        "sender_canonical_maps": f"{maps}:srs",
        "sender_canonical_classes": "envelope_sender",
        "recipient_canonical_maps": f"regexp:{state}/mx/etc/forward_carried, {maps}:srs-back",
        "recipient_canonical_classes": "envelope_recipient",
    }

    def doors(name: str, options: dict[str, str], header_checks: str) -> list[Service]:
        own = {"syslog_name": f"postfix/{name}", **door, "cleanup_service_name": f"cleanup_{name}", **options}
        checks = cleanup | {"header_checks": f"regexp:{state}/mx/etc/{header_checks}"}
        return [
            Service(f"127.0.0.1:{ports[name]}", "inet", "smtpd", private="n", options=own),
            Service(f"cleanup_{name}", "unix", "cleanup", private="n", limit="0", options=checks),
        ]

    return [
        *doors("forward", {"smtpd_milters": ""}, "forward_spam"),  # judged when it came in
        *doors("filters", {"milter_macro_daemon_name": FILTERS}, "filters_noted"),
    ]
