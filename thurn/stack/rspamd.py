"""Rspamd: judges what `mx` takes in, as a milter. Debian's rules are the base; what differs is rendered here."""

from collections.abc import Mapping
from pathlib import Path

from thurn.stack import rspamd_dkim as dkim
from thurn.stack.files import Directory, File
from thurn.stack.postfix_forward import FILTERS

# Whose memory a mail is held against, or a lesson goes into: that of the domain it is for. Without one, nobody's.
_BAYES = """
per_user = <<EOD
return function(task)
  local known = task:cache_get("thurn_memory")
  if known then return known ~= "" and known or "nobody" end
  local to = task:get_principal_recipient()
  return to and to:lower():match("@([^@]+)$") or "nobody"
end
EOD
"""

# Modules that ask servers on the Internet, or judge a client by an address that is always loopback in a simulation.
_NETWORK = (
    "asn", "bimi", "fuzzy_check", "hfilter", "mid", "mime_types", "multimap", "mx_check", "neural", "once_received",
    "phishing", "rbl", "surbl", "url_redirector", "whitelist",
)  # fmt: skip
# UTF-8 in headers is lawful since RFC 6532; Debian's rules put it into Junk by itself, also in what people here send.
_LAWFUL = (
    "INVALID_FROM_8BIT", "INVALID_RCPT_8BIT", "FROM_NEEDS_ENCODING", "TO_NEEDS_ENCODING", "SUBJECT_NEEDS_ENCODING",
)  # fmt: skip
_RULES = Path(__file__).with_name("rspamd.lua")
_NEVER = ("rspamd_update", "p0f", "clickhouse", "elastic")


def directories() -> list[Directory]:
    """Folders: configuration belongs to root, what Rspamd learns belongs to Rspamd."""
    return [
        Directory("rspamd"),
        Directory("rspamd/etc"),
        Directory("rspamd/etc/local.d"),
        Directory("rspamd/data", 0o750, "_rspamd:_rspamd"),
        Directory(dkim.FOLDER, 0o750, "root:_rspamd"),
    ]


def render(
    state: Path,
    ports: Mapping[str, int],
    *,
    redis_password: str,
    controller_password: str,
    nameservers: list[tuple[str, int]],
    simulate: bool,
    guard_secret: str,
) -> list[File]:
    """The main file and one file for each module that differs from Debian's defaults."""
    local = {
        "redis": f'servers = "127.0.0.1:{ports["redis"]}";\npassword = "{redis_password}";\n',
        "options": _options(nameservers),
        # The header by which Dovecot's filter knows what belongs into Junk.
        "milter_headers": 'use = ["authentication-results", "spam-header", "x-spamd-bar"];\n',
        "headers_group": "symbols {\n" + "".join(f'  "{name}" {{ weight = 0.0; }}\n' for name in _LAWFUL) + "}\n",
        "history_redis": "nrows = 500;\nsubject_privacy = true;\n",
        # What a sender's own policy says of mail that pretends to be theirs.
        "dmarc": 'actions = { quarantine = "add header"; reject = "reject"; }\n',
        "dkim_signing": dkim.signing(state),
        "classifier-bayes": f"min_learns = {3 if simulate else 50};{_BAYES}",
        "greylist": f"timeout = {2 if simulate else 300}s;\n",
    }
    for module in (*_NEVER, *(_NETWORK if simulate else ())):
        local[module] = "enabled = false;\n"
    if simulate:  # every client is on loopback, which these modules would otherwise wave through
        for module in ("spf", "dkim", "dmarc", "greylist"):
            local[module] = local.get(module, "") + "check_local = true;\n"
        local["milter_headers"] += "skip_local = false;\n"
    files = [
        File("rspamd/etc/rspamd.conf", _main(state, ports, controller_password), 0o640, "root:_rspamd"),
        File("rspamd/etc/rspamd.local.lua", _program(ports, guard_secret, simulate), 0o640, "root:_rspamd"),
    ]
    return files + [
        File(f"rspamd/etc/local.d/{name}.conf" if name != "options" else "rspamd/etc/local.d/options.inc",
             text, 0o640, "root:_rspamd")
        for name, text in sorted(local.items())
    ]  # fmt: skip


def variables(state: Path) -> list[str]:
    """Command-line options that keep Rspamd from Debian's own state and local configuration."""
    values = {"LOCAL_CONFDIR": f"{state}/rspamd/etc", "DBDIR": f"{state}/rspamd/data", "RUNDIR": f"{state}/rspamd/data",
              "LOGDIR": f"{state}/log"}  # fmt: skip
    return [f"--var={name}={value}" for name, value in values.items()]


def _program(ports: Mapping[str, int], secret: str, simulate: bool) -> str:
    """Our own rules, with where `guard` is and what it wants to see in front."""
    guard = f"http://127.0.0.1:{ports['guard']}"
    known = f'local GUARD, BEARER, SIMULATE, FILTERS = "{guard}", "{secret}", {str(simulate).lower()}, "{FILTERS}"'
    return f"{known}\n{_RULES.read_text()}"


def _options(nameservers: list[tuple[str, int]]) -> str:
    common = "task_timeout = 30s;\n"
    if not nameservers:
        return common
    servers = ", ".join(f'"{host}:{port}:1"' for host, port in nameservers)
    return f"{common}dns {{ nameserver = [{servers}]; }}\n"


def _main(state: Path, ports: Mapping[str, int], controller_password: str) -> str:
    """One proxy that scans by itself, one controller: two workers instead of Debian's four."""
    return f"""# Rendered by Thurn.
.include "$CONFDIR/common.conf"
options {{
  pidfile = "$RUNDIR/rspamd.pid";
  .include "$CONFDIR/options.inc"
  .include(try=true; priority=1,duplicate=merge) "$LOCAL_CONFDIR/local.d/options.inc"
}}
logging {{
  type = "console";
  .include "$CONFDIR/logging.inc"
  level = "notice";
}}
worker "rspamd_proxy" {{
  bind_socket = "127.0.0.1:{ports["milter"]}";
  milter = yes;
  timeout = 60s;
  count = 1;
  max_retries = 5;
  spam_header = "X-Spam";
  reject_message = "Refused as spam";
  upstream "local" {{ default = yes; self_scan = yes; }}
}}
worker "controller" {{
  bind_socket = "127.0.0.1:{ports["rspamd"]}";
  count = 1;
  password = "{controller_password}";
  enable_password = "{controller_password}";
  secure_ip = [];
}}
"""
