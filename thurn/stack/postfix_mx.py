"""Postfix `mx`: takes mail for local mailboxes and from signed-in people. Nobody is trusted for their address."""

import re
from collections.abc import Mapping
from pathlib import Path

from thurn.stack import postfix, postfix_forward, postfix_guard
from thurn.stack.dovecot import CIPHERS
from thurn.stack.files import File
from thurn.stack.out_plan import Egress
from thurn.stack.postfix import Service
from thurn.stack.postfix_out import source
from thurn.stack.tls import PAIR, SNI

# A client that asks for SMTPUTF8 may need it or not. Cleanup finds that out, and what needs it is returned to its
# sender where a server does not offer it; Dovecot's LMTP does not, but takes UTF-8 all the same. With this cleanup
# does not look. Towards the world the extension is still used with every server that offers it.
_TO_DOVECOT_TOO = {"smtputf8_enable": "no"}

# Map -> query. `=` on the whole address: under LIKE the `_` of `a_b@` would match `acb@`. A query that finds nothing
# gives no row; a row with NULL would be a warning in the log at every lookup.
_QUERIES = {
    "mailbox_domains": "SELECT name FROM mta.mailbox_domain WHERE name = lower('%s')",
    "alias_domains": "SELECT name FROM mta.alias_domain WHERE name = lower('%s')",
    "mailboxes": "SELECT address FROM mta.mailbox WHERE address = lower('%s')",
    "aliases": "SELECT targets FROM mta.aliases(lower('%s'))",
    "bounce_domains": "SELECT name FROM mta.bounce_domain WHERE name = lower('%s')",
    "transports": "SELECT '{feedback}' FROM mta.bounce_domain WHERE name = lower('%s')",
    "sender_logins": "SELECT logins FROM mta.logins(lower('%s'))",
    "receives_only": "SELECT reply FROM mta.receives_only WHERE address = lower('%s')",
    "bcc_sent": "SELECT copy_to FROM mta.bcc_sent WHERE address = lower('%s')",
}

# Who may be written to at a bounce host: VERP tokens, unsubscribes, complaints, reports, and whom RFC 2142 wants
# reachable. At this server's own name: return addresses of mail that was sent on.
_RELAY_RECIPIENTS = r"""/^SRS[01][=+-][^@]+@{host}$/ ok
if !/@{host}$/
/^([bu]\.[^@]+|fbl|abuse|postmaster|dmarc|tlsrpt)@/ ok
endif
"""


def render(
    state: Path,
    ports: Mapping[str, int],
    *,
    hostname: str,
    listen: str,
    database: str,
    retry_first: int,
    simulate: bool,
    people: Egress | None = None,
) -> list[File]:
    """All files of the instance. `database` is a `postgresql://` URL for the role `thurn_postfix`.

    `people`: the sending address of people's mail; None: the one the system chooses.
    """
    feedback = f"feedback:inet:127.0.0.1:{ports['feedback']}"
    maps = [_map(name, query.format(feedback=feedback), database) for name, query in _QUERIES.items()]
    return [
        *postfix.files(
            "mx", _main(state, ports, hostname, listen, retry_first, simulate), _services(state, listen, ports, people)
        ),
        *maps,
        File("mx/etc/relay_recipients", _RELAY_RECIPIENTS.format(host=re.escape(hostname))),
        *postfix_forward.files(ports, hostname),
    ]


def _map(name: str, query: str, database: str) -> File:
    """A pgsql_table(5) file; it holds the password of a role that can read a few views and nothing else."""
    # `dbname` must not be empty; which database it is stands in the URL.
    text = f"hosts = {database}\ndbname = thurn\nquery = {query}\nexpansion_limit = 1000\n"
    return File(f"mx/etc/{name}.cf", text, 0o640, "root:postfix")


def _main(
    state: Path, ports: Mapping[str, int], hostname: str, listen: str, retry_first: int, simulate: bool
) -> dict[str, str]:
    def table(name: str) -> str:
        return f"proxy:pgsql:{state}/mx/etc/{name}.cf"

    loopback = listen.startswith("127.")
    first = min(retry_first, 300)
    parameters = postfix.base(state, "mx", hostname=hostname) | {
        "inet_interfaces": listen if loopback else "all",
        "inet_protocols": "ipv4" if loopback else "all",
        "mynetworks": "",
        "relayhost": f"[127.0.0.1]:{ports['sim_smtp']}" if simulate else "",
        "message_size_limit": "52428800",
        "mailbox_size_limit": "0",
        "virtual_mailbox_domains": table("mailbox_domains"),
        "virtual_alias_domains": table("alias_domains"),
        "virtual_mailbox_maps": table("mailboxes"),
        "virtual_alias_maps": table("aliases"),
        "virtual_transport": "lmtp:unix:private/dovecot-lmtp",
        "relay_domains": f"{table('bounce_domains')}, $myhostname",
        "relay_recipient_maps": f"regexp:{state}/mx/etc/relay_recipients",
        "transport_maps": f"texthash:{state}/mx/etc/forward_transports, {table('transports')}",
        "smtpd_sender_login_maps": table("sender_logins"),
        "proxy_read_maps": " ".join(table(name) for name in _QUERIES),
        **postfix_guard.parameters(ports),
        "smtpd_banner": "$myhostname ESMTP",
        "smtpd_helo_required": "yes",
        "smtpd_forbid_bare_newline": "yes",  # SMTP smuggling
        "smtpd_data_restrictions": "reject_unauth_pipelining",
        "smtpd_relay_restrictions": "permit_sasl_authenticated, reject_unauth_destination",
        "smtpd_recipient_restrictions": ", ".join(
            (
                "reject_non_fqdn_sender",
                "reject_non_fqdn_recipient",
                f"check_recipient_access regexp:{state}/mx/etc/return_addresses",
                # Without Dovecot mail waits in the queue, as it always does.
                f"check_policy_service {{ inet:127.0.0.1:{ports['quota_status']}, default_action=DUNNO, timeout=10s }}",
                "$guard_recipient",
                # For the trace: what is refused after the data names one recipient, or none.
                "check_recipient_access static:{INFO taken}",
            )
        ),
        "smtpd_restriction_classes": "only_returned",
        "only_returned": f"check_sender_access regexp:{state}/mx/etc/null_sender, "
        f"check_recipient_access socketmap:inet:127.0.0.1:{ports['guard_maps']}:srs-access",
        "smtpd_client_auth_rate_limit": "60",
        "smtpd_tls_security_level": "may",
        "smtpd_tls_chain_files": f"{state}/{PAIR}",
        "tls_server_sni_maps": f"hash:{state}/{SNI}",
        "smtpd_tls_protocols": ">=TLSv1.2",
        "smtpd_tls_mandatory_protocols": ">=TLSv1.2",
        # People's programs: forward secrecy and authenticated encryption only. Other servers may use an old cipher: the
        # alternative would be none at all.
        "smtpd_tls_mandatory_ciphers": "high",
        "tls_high_cipherlist": CIPHERS,
        "smtpd_tls_ciphers": "medium",
        "smtpd_tls_exclude_ciphers": "aNULL, eNULL, EXPORT, LOW, RC4, 3DES, MD5, PSK, SRP, DSS, SEED, IDEA",
        "tls_preempt_cipherlist": "yes",
        "tls_ssl_options": "NO_COMPRESSION, NO_RENEGOTIATION, NO_TICKET",
        "smtpd_tls_auth_only": "yes",
        "smtpd_tls_received_header": "yes",
        "smtpd_sasl_auth_enable": "no",  # only the submission services turn it on
        "smtpd_sasl_type": "dovecot",
        "smtpd_sasl_path": "private/auth-login",
        "smtpd_sasl_security_options": "noanonymous",
        "smtpd_milters": f"inet:127.0.0.1:{ports['milter']}",
        "milter_default_action": "tempfail",
        "milter_protocol": "6",
        "milter_mail_macros": "i {mail_addr} {client_addr} {client_name} {auth_authen}",
        "minimal_backoff_time": f"{first}s",
        "maximal_backoff_time": "4000s",
        "maximal_queue_lifetime": "5d",
        "bounce_queue_lifetime": "5d",
        "smtp_bind_address_enforce": "yes",
        "queue_run_delay": f"{first}s",
    }
    if simulate:  # nothing may leave the machine, not even a question
        parameters |= {"smtp_dns_support_level": "disabled", "smtp_tls_security_level": "none"}
    return parameters


def _services(state: Path, listen: str, ports: Mapping[str, int], people: Egress | None) -> list[Service]:
    everywhere = listen in postfix.EVERYWHERE
    host = "" if everywhere else f"{listen}:"
    door = postfix.inner_door(listen, ports["smtp"])
    received = {"cleanup_service_name": "cleanup_received"}
    doors = [host] if everywhere or door == listen else [host, f"{door}:"]
    signed_in = {
        "smtpd_sasl_auth_enable": "yes",
        **postfix_guard.OPTIONS,
        "smtpd_relay_restrictions": (
            f"$guard_own, check_sasl_access proxy:pgsql:{state}/mx/etc/receives_only.cf, "
            "reject_authenticated_sender_login_mismatch, permit_sasl_authenticated, reject"
        ),
        "smtpd_end_of_data_restrictions": f"check_policy_service inet:127.0.0.1:{ports['guard_policy']}",
        "cleanup_service_name": "cleanup_submitted",
        "milter_macro_daemon_name": "ORIGINATING",
    }
    starttls = {"syslog_name": "postfix/submission", "smtpd_tls_security_level": "encrypt"}
    wrapped = {"syslog_name": "postfix/submissions", "smtpd_tls_wrappermode": "yes"}
    # What webmail hands over: a door on loopback, the only one for sending that the passwords of its sessions open.
    webmail = {
        "syslog_name": "postfix/webmail",
        "smtpd_tls_security_level": "none",
        "smtpd_tls_auth_only": "no",
        "smtpd_sasl_service": "webmail",
    }
    return [
        *(Service(f"{each}{ports['smtp']}", "inet", "smtpd", private="n", options=received) for each in doors),
        Service(f"{host}{ports['submission']}", "inet", "smtpd", private="n", options=starttls | signed_in),
        Service(f"{host}{ports['submissions']}", "inet", "smtpd", private="n", options=wrapped | signed_in),
        Service(f"127.0.0.1:{ports['webmail_smtp']}", "inet", "smtpd", private="n", options=webmail | signed_in),
        *postfix.plumbing(),
        # What people here send: copies of it for the record.
        Service(
            "cleanup_submitted",
            "unix",
            "cleanup",
            private="n",
            limit="0",
            options={"sender_bcc_maps": f"proxy:pgsql:{state}/mx/etc/bcc_sent.cf", **_TO_DOVECOT_TOO},
        ),
        Service("cleanup_received", "unix", "cleanup", private="n", limit="0", options=_TO_DOVECOT_TOO),
        *postfix_forward.services(state, ports),
        Service("inner", "unix", "smtp"),  # to doors of our own, whatever address people's mail leaves by
        Service("smtp", "unix", "smtp", options=source(people) if people else {}),
        Service("relay", "unix", "smtp", options=source(people) if people else {}),
        Service("lmtp", "unix", "lmtp"),
        Service("feedback", "unix", "lmtp", limit="5", options={"syslog_name": "postfix/feedback"}),
    ]
