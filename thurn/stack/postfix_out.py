"""Postfix `out`: everything Thurn sends in bulk. No SQL, no milter on its path: a regexp picks the transport.

The envelope sender `b.<egress>.<provider>.<token>@…` names the transport `<egress>-<provider>`, and with it the caps on
connections and, later, the source address.
"""

from collections.abc import Mapping
from pathlib import Path

from thurn.delivery.providers import PROVIDERS
from thurn.stack import postfix
from thurn.stack.files import File
from thurn.stack.postfix import Service

EGRESSES = ("e1",)
_CONNECTIONS = 20  # at once, for each egress and provider
_LOCAL_CONNECTIONS = 4  # to our own mx, where each mail costs a spam check


def render(
    state: Path, ports: Mapping[str, int], *, hostname: str, listen: str, retry_first: int, simulate: bool
) -> list[File]:
    """All files of the instance."""
    return [
        *postfix.files("out", _main(state, ports, hostname, retry_first, simulate), _services(ports)),
        File("out/etc/transports", transports(ports, listen=listen, simulate=simulate)),
        File("out/etc/discard", "/^/ DISCARD the outcome is read from the log\n"),
    ]


def transports(ports: Mapping[str, int], *, listen: str, simulate: bool) -> str:
    """regexp_table(5): envelope sender -> transport and, where it is not the recipient's own MX, next hop."""
    lines = []
    for egress in EGRESSES:
        for provider in PROVIDERS:
            next_hop = ""
            if provider == "local":
                next_hop = f"[{postfix.inner_door(listen, ports['smtp'])}]:{ports['smtp']}"
            elif simulate:
                next_hop = f"[127.0.0.1]:{ports['sim_smtp']}"
            lines.append(rf"/^b\.{egress}\.{provider}\.[^@]+@/ {egress}-{provider}:{next_hop}")
    return "\n".join(lines) + "\n"


def _main(state: Path, ports: Mapping[str, int], hostname: str, retry_first: int, simulate: bool) -> dict[str, str]:
    parameters = postfix.base(state, "out", hostname=f"out.{hostname}") | {
        # Not `mx`'s name as its own: handing mail to our own mx would look like a loop.
        "smtp_helo_name": hostname,
        "inet_interfaces": "127.0.0.1",
        "inet_protocols": "ipv4" if simulate else "all",
        "mynetworks": "127.0.0.1/32",
        "smtpd_relay_restrictions": "permit_mynetworks, reject",
        "smtpd_recipient_restrictions": "",
        "smtpd_peername_lookup": "no",
        "smtpd_client_connection_count_limit": "0",
        "smtpd_client_connection_rate_limit": "0",
        "smtpd_client_message_rate_limit": "0",
        "smtpd_client_recipient_rate_limit": "0",
        "smtpd_error_sleep_time": "0",
        "smtpd_recipient_limit": "1000",
        "smtpd_timeout": "3600s",  # the sender keeps its connections
        # The sender writes down which process serves it: by that and the port the log tells when a session is over.
        "smtpd_banner": "out ESMTP $process_id",
        "smtpd_client_port_logging": "yes",
        "max_use": "5000",  # a process per 100 mails is 14 % of the work
        "in_flow_delay": "0",
        "default_process_limit": "200",
        "qmgr_message_active_limit": "20000",
        "qmgr_message_recipient_limit": "40000",
        "message_size_limit": "52428800",
        "recipient_delimiter": "",
        "relayhost": f"[127.0.0.1]:{ports['sim_smtp']}" if simulate else "",
        "default_transport": f"{EGRESSES[0]}-other",
        "sender_dependent_default_transport_maps": f"regexp:{state}/out/etc/transports",
        # Our log reader sees each outcome; a bounce mail to our own VERP address would say it twice.
        "internal_mail_filter_classes": "bounce",
        "delay_warning_time": "0",
        "minimal_backoff_time": f"{retry_first}s",
        "maximal_backoff_time": f"{max(4000, retry_first)}s",
        "queue_run_delay": f"{min(300, retry_first)}s",
        "maximal_queue_lifetime": "2d",
        "bounce_queue_lifetime": "2d",
    }
    for egress in EGRESSES:
        for provider in PROVIDERS:
            limit = _LOCAL_CONNECTIONS if provider == "local" else _CONNECTIONS
            parameters[f"{egress}-{provider}_destination_concurrency_limit"] = str(limit)
            parameters[f"{egress}-{provider}_initial_destination_concurrency"] = str(min(limit, 5))
    if simulate:
        parameters |= {"smtp_dns_support_level": "disabled", "smtp_tls_security_level": "none"}
    return parameters


def _services(ports: Mapping[str, int]) -> list[Service]:
    internal = {"cleanup_service_name": "cleanup_internal"}
    bounces = {"bounce", "defer", "trace"}
    plumbing = [
        Service(s.name, s.type, s.command, s.private, s.unprivileged, s.wakeup, s.limit, internal)
        if s.name in bounces
        else s
        for s in postfix.plumbing()
    ]
    transports = [
        Service(
            f"{egress}-{provider}",
            "unix",
            "smtp",
            limit=str(_LOCAL_CONNECTIONS if provider == "local" else _CONNECTIONS),
            options={"syslog_name": f"postfix/{egress}-{provider}"},
        )
        for egress in EGRESSES
        for provider in PROVIDERS
    ]
    return [
        Service(f"127.0.0.1:{ports['out']}", "inet", "smtpd", private="n"),
        *plumbing,
        Service("cleanup_internal", "unix", "cleanup", private="n", limit="0",
                options={"header_checks": "regexp:$config_directory/discard"}),
        Service("smtp", "unix", "smtp"),
        Service("relay", "unix", "smtp"),
        *transports,
    ]  # fmt: skip
