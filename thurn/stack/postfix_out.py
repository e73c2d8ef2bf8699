"""Postfix `out`: everything Thurn sends in bulk. No SQL, no milter on its path: a regexp picks the transport.

The envelope sender `b.<egress>.<provider>.<token>@…` names the transport `<egress>-<provider>`, and with it the source
address, the HELO name and the caps on connections.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from thurn.delivery.providers import LOCAL, OTHER, PER_SERVER, PROVIDERS
from thurn.stack import postfix
from thurn.stack.files import Directory, File
from thurn.stack.out_plan import PLAN, Egress, Plan, Relay
from thurn.stack.postfix import Service

TRANSPORTS = "out/lanes/transports"
READ = "out/etc/transports-read"  # the same as Postfix has read it
OPEN = "# Lanes"  # what stands before it is what `keeper` has Postfix read at once
RELAY = "relay"  # in the name of a relay's transport, where others have the provider
SUSPENDED = "suspended by Thurn"  # in the reply of a mail that waits in Postfix for a lane to open again


def directories() -> list[Directory]:
    """The folder of the table that the sender rewrites."""
    return [*postfix.directories("out"), Directory("out/lanes", 0o755, "thurn:thurn")]


def render(
    state: Path,
    ports: Mapping[str, int],
    *,
    hostname: str,
    retry_first: int,
    retry_hours: int,
    simulate: bool,
    plan: Plan,
    receivers: str = "127.0.0.1",
    people: bool = True,
) -> list[File]:
    """All files of the instance but the table of transports. For `receivers` and `people` see there."""
    main = _main(state, ports, hostname, retry_first, retry_hours, simulate, plan, receivers)
    return [
        *postfix.files("out", main, _services(ports, plan, people)),
        File("out/etc/discard", "/^/ DISCARD the outcome is read from the log\n"),
    ]


def transports(
    ports: Mapping[str, int],
    plan: Plan,
    *,
    listen: str,
    simulate: bool,
    suspended: Iterable[tuple[str, str]] = (),
    instead: Mapping[str, str] = MappingProxyType({}),
    receivers: str = "127.0.0.1",
    people: bool = True,
    moved: Mapping[tuple[str, str], str] = MappingProxyType({}),
) -> str:
    """regexp_table(5): envelope sender -> transport and, where it is not the recipient's own MX, next hop.

    The first line that matches counts: relays that are broken and have another egress take their mail (`instead`),
    lanes whose mail another egress carries (`moved`), suspended lanes, then every lane; at last relays, and mail of an
    egress that is gone, which the first one carries.

    `receivers`: where the simulated ones are. Without `people` their mailboxes are on another machine, and mail to them
    leaves like any other.
    """
    next_hop = f"[{receivers}]:{ports['sim_smtp']}" if simulate else ""
    door = f"[{postfix.inner_door(listen, ports['smtp'])}]:{ports['smtp']}" if people else next_hop
    # The servers of no known provider first: they are the most, and Postfix reads on from line to line.
    away = [OTHER, *(name for name in PROVIDERS if name not in (LOCAL, OTHER))]
    lines = [
        rf"/^b\.{name}\.{provider}\./ {other}-{provider}:{next_hop}"
        for name, other in sorted(instead.items())
        for provider in away
    ]
    lines += [
        rf"/^b\.{name}\.{provider}\./ {other}-{provider}:{_here(plan, other, ports, next_hop)}"
        for (name, provider), other in sorted(moved.items())
    ]
    lines += [
        rf"/^b\.{egress}\.{provider}\./ retry:4.7.0 {SUSPENDED}: {egress} at {provider}"
        for egress, provider in sorted(suspended)
    ]
    lines.append(OPEN)
    # A line for each lane: Postfix skips a line of this table that puts $1 into a transport's name.
    for egress in plan.direct:
        here = _here(plan, egress.name, ports, next_hop)
        lines += [
            rf"if /^b\.{egress.name}\./",
            *(rf"/^b\.{egress.name}\.{provider}\./ {egress.name}-{provider}:{here}" for provider in away),
            rf"/^b\.{egress.name}\.{LOCAL}\./ {egress.name}-{LOCAL}:{door}",
            "endif",
        ]
    first = plan.direct[0].name
    lines.append(rf"/^b\.[a-z0-9]+\.{LOCAL}\./ {first}-{LOCAL}:{door}")
    lines += [rf"/^b\.{name}\.[a-z]+\./ {name}-{RELAY}:[{relay.host}]:{relay.port}" for name, relay in plan.relays]
    lines += [rf"/^b\.[a-z0-9]+\.{provider}\./ {first}-{provider}:{next_hop}" for provider in away]
    return "\n".join(lines) + "\n"


def _here(plan: Plan, name: str, ports: Mapping[str, int], next_hop: str) -> str:
    """Where an egress hands over: the simulated internet listens by IPv6 as well."""
    egress = next((each for each in plan.direct if each.name == name), None)
    only_six = egress is not None and egress.bind6 and not egress.bind4
    return f"[::1]:{ports['sim_smtp']}" if next_hop and only_six else next_hop


def _main(
    state: Path,
    ports: Mapping[str, int],
    hostname: str,
    retry_first: int,
    retry_hours: int,
    simulate: bool,
    plan: Plan,
    receivers: str,
) -> dict[str, str]:
    parameters = postfix.base(state, "out", hostname=f"out.{hostname}") | {
        # Not `mx`'s name as its own: handing mail to our own mx would look like a loop.
        "smtp_helo_name": hostname,
        "inet_interfaces": "127.0.0.1",
        "inet_protocols": "ipv4" if simulate else "all",
        "mynetworks": "127.0.0.1/32",
        "smtpd_relay_restrictions": "permit_mynetworks, reject",
        "smtpd_recipient_restrictions": "",
        "smtpd_reject_unlisted_recipient": "no",  # nobody lives here
        # Mail comes here as it is to leave, with whole addresses: nobody asks trivial-rewrite about each in the header.
        "local_header_rewrite_clients": "",
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
        "relayhost": f"[{receivers}]:{ports['sim_smtp']}" if simulate else "",
        "default_transport": f"{plan.direct[0].name}-{OTHER}",
        "sender_dependent_default_transport_maps": f"regexp:{state}/{TRANSPORTS}",
        # From another address than the one a lane is for: rather later than so.
        "smtp_bind_address_enforce": "yes",
        # Our log reader sees each outcome; a bounce mail to our own VERP address would say it twice.
        "internal_mail_filter_classes": "bounce",
        "delay_warning_time": "0",
        "minimal_backoff_time": f"{retry_first}s",
        "maximal_backoff_time": f"{max(4000, retry_first)}s",
        # Its looks at deferred mail would make bursts of what came at any time between them.
        "queue_run_delay": f"{min(30, max(1, retry_first // 10))}s",
        # Of the mail that is tried longest; a campaign's is ended before (thurn/delivery/jobs.py).
        "maximal_queue_lifetime": f"{retry_hours}h",
        "bounce_queue_lifetime": f"{retry_hours}h",
    }
    for name, relay in plan.relays:
        parameters[f"{name}-{RELAY}_destination_concurrency_limit"] = str(relay.connections)
        parameters[f"{name}-{RELAY}_initial_destination_concurrency"] = str(min(relay.connections, 5))
    for egress in plan.direct:
        for provider in PROVIDERS:
            limit = plan.limits(egress.name, provider).connections
            if provider == OTHER:  # many servers share its connections; in the simulated internet they are one
                limit = min(limit, 2 * PER_SERVER if simulate else PER_SERVER)
            parameters[f"{egress.name}-{provider}_destination_concurrency_limit"] = str(limit)
            parameters[f"{egress.name}-{provider}_initial_destination_concurrency"] = str(min(limit, 5))
    if simulate:
        parameters |= {"smtp_dns_support_level": "disabled", "smtp_tls_security_level": "none"}
    return parameters


def _services(ports: Mapping[str, int], plan: Plan, people: bool) -> list[Service]:
    internal = {"cleanup_service_name": "cleanup_internal"}
    bounces = {"bounce", "defer", "trace"}
    plumbing = [
        Service(s.name, s.type, s.command, s.private, s.unprivileged, s.wakeup, s.limit, internal)
        if s.name in bounces
        else s
        for s in postfix.plumbing()
    ]
    return [
        Service(f"127.0.0.1:{ports['out']}", "inet", "smtpd", private="n"),
        *plumbing,
        Service("cleanup_internal", "unix", "cleanup", private="n", limit="0",
                options={"header_checks": "regexp:$config_directory/discard"}),
        Service("smtp", "unix", "smtp"),
        Service("relay", "unix", "smtp"),
        *(_transport(plan, egress, provider, people) for egress in plan.direct for provider in PROVIDERS),
        *(_relay(name, relay) for name, relay in plan.relays),
    ]  # fmt: skip


def _transport(plan: Plan, egress: Egress, provider: str, people: bool) -> Service:
    limits = plan.limits(egress.name, provider)
    name = f"{egress.name}-{provider}"
    options = {
        "syslog_name": f"postfix/{name}",
        "smtp_connection_reuse_count_limit": str(limits.per_connection),
        **({} if provider == LOCAL and people else source(egress)),
    }
    return Service(name, "unix", "smtp", limit=str(limits.connections), options=options)


def password_file(name: str) -> str:
    """Where the password of a relay lies, below the state directory: read by root before the client lowers itself."""
    return f"out/etc/password-{name}"


def _relay(name: str, relay: Relay) -> Service:
    """A client that signs in, over TLS to a server that proved who it is; without a password there may be no TLS."""
    options = {"syslog_name": f"postfix/{name}-{RELAY}", "smtp_connection_reuse_count_limit": "100"}
    if relay.security == "none":
        options["smtp_tls_security_level"] = "none"
    elif relay.fingerprint:
        pairs = ":".join(relay.fingerprint[at : at + 2] for at in range(0, 64, 2))
        options |= {
            "smtp_tls_security_level": "fingerprint", "smtp_tls_fingerprint_digest": "sha256",
            "smtp_tls_fingerprint_cert_match": pairs,
        }  # fmt: skip
    else:
        options |= {
            "smtp_tls_security_level": "secure", "smtp_tls_secure_cert_match": "nexthop",
            "smtp_tls_CAfile": "/etc/ssl/certs/ca-certificates.crt",
        }  # fmt: skip
    if relay.security == "tls":
        options["smtp_tls_wrappermode"] = "yes"
    if relay.secret:
        options |= {
            "smtp_sasl_auth_enable": "yes",
            "smtp_sasl_password_maps": f"texthash:$config_directory/password-{name}",
            "smtp_sasl_security_options": "noanonymous",
            "smtp_sasl_tls_security_options": "noanonymous",
        }
    return Service(f"{name}-{RELAY}", "unix", "smtp", limit=str(relay.connections), options=options)


def source(egress: Egress) -> dict[str, str]:
    """Options of a client that leaves by an egress. One address: never by the other protocol from another address."""
    options = {}
    if egress.bind4 or egress.bind6:
        options["inet_protocols"] = "all" if egress.bind4 and egress.bind6 else "ipv4" if egress.bind4 else "ipv6"
    if options.get("inet_protocols") == "ipv6":
        options["inet_interfaces"] = "all"  # an IPv4 address there would end the client
    if egress.bind4:
        options["smtp_bind_address"] = egress.bind4
    if egress.bind6:
        options["smtp_bind_address6"] = egress.bind6
    if egress.helo:
        options["smtp_helo_name"] = egress.helo
    return options


def first_files(
    ports: Mapping[str, int],
    plan: Plan,
    *,
    listen: str,
    simulate: bool,
    receivers: str = "127.0.0.1",
    people: bool = True,
) -> list[File]:
    """What is placed once and then rewritten by others: the table of transports (sender) and the plan (keeper)."""
    table = transports(ports, plan, listen=listen, simulate=simulate, receivers=receivers, people=people)
    return [File(TRANSPORTS, table, 0o644, "thurn:thurn"), File(READ, table), File(PLAN, plan.text())]
