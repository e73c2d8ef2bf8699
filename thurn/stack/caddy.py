"""Caddy, the role `edge`: the one door for browsers. Everything behind it listens on loopback.

Without TLS (a demo, or a proxy of the operator's in front) it hands everything on. With TLS it gets certificates by
ACME: for the web interface and the mail host at once, for webmail and the hosts of domains when somebody first asks for
them and `guard` says that we know the host (thurn/mailhost/hosts.py).
"""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import structlog

from thurn.secrets import Secrets
from thurn.settings import LOOPBACK, Settings
from thurn.stack import webmail
from thurn.stack.files import Directory, File
from thurn.stack.keeper import Kept
from thurn.stack.postfix import EVERYWHERE

log = structlog.get_logger()

CONFIG = "edge/Caddyfile"
ACME_ROOT = "edge/acme-root.pem"
HTTPS = 443

# What is served on the hosts of domains: links in mail, and what mail servers and mail programs look for.
_OF_DOMAINS = (
    *("/o/*", "/c/*", "/u/*", "/static/*", "/.well-known/mta-sts.txt", "/.well-known/autoconfig/*"),
    *("/mail/config-v1.1.xml", "/autodiscover/*"),
)


@dataclass(frozen=True)
class Tls:
    """What Caddy needs to know about certificates."""

    web_host: str
    mail_host: str
    directory: str
    email: str = ""
    own_root: bool = False  # the ACME server's certificate is checked against ACME_ROOT
    # False until Caddy has an account at the authority. Until then it asks for one certificate only: Caddy 2.6 that
    # needs two at once opens two accounts and mixes up their keys, and then never gets another certificate.
    account: bool = True


def directories() -> list[Directory]:
    """Caddy's own folders; certificates and keys are in `data`."""
    return [
        Directory("edge"),
        Directory("edge/data", 0o700, "caddy:caddy"),
        Directory("edge/run", 0o750, "caddy:caddy"),
    ]


def render(
    state: Path,
    ports: Mapping[str, int],
    *,
    listen: str,
    secret: str,
    guard_secret: str = "",
    trusted_proxies: Sequence[str] = (),
    tls: Tls | None = None,
    webmail_host: str = "",
    webmail_https: bool = False,
) -> list[File]:
    """The Caddyfile. `secret` tells the web that a request came through here, `guard_secret` opens `guard`.

    Webmail has an origin of its own: the host `webmail_host`, or without one a port. `webmail_https`: people come to it
    by https, even where a proxy in front speaks that.
    """
    bind = "" if listen in EVERYWHERE else f"\n  bind {listen}"
    web = _web(ports, secret, trusted_proxies)
    roundcube = webmail.site(state, https=webmail_https)
    if tls is None:
        where = f"{webmail_host}:{ports['http']}" if webmail_host else f":{ports['webmail']}"
        certificates = "  auto_https off\n"
        sites = f"http://:{ports['http']} {{{bind}\n{webmail.MOVED}{web}}}\nhttp://{where} {{{bind}\n{roundcube}}}\n"
    else:
        certificates = _certificates(ports, tls, state, guard_secret)
        sites = _sites(ports, tls, bind, web)
        if tls.account:
            sites += f"https://{webmail_host} {{{bind}\n  tls {{\n    on_demand\n  }}\n{roundcube}}}\n"
    text = f"""# Rendered by Thurn.
{{
  admin unix//{state}/edge/run/admin.sock
  storage file_system {state}/edge/data
{certificates}  servers {{
    protocols h1 h2
    max_header_size 64KB
    timeouts {{
      read_header 15s
      read_body 30m
      idle 3m
    }}
  }}
  log {{
    output stderr
    level WARN
    format filter {{
      wrap json
      fields {{
        error regexp "key=[^ &\\"]+" "key=(not shown)"
        request>uri regexp "_thurn=[^&]+" "_thurn=(not shown)"
      }}
    }}
  }}
}}
{sites}"""
    return [File(CONFIG, text, 0o640, "root:caddy")]


def wanted(settings: Settings) -> list[File]:
    """Everything Caddy reads, as settings and its own folder have it now."""
    secrets = Secrets(settings.state)
    tls, root = None, []
    if settings.tls:
        tls = Tls(
            web_host=settings.web_host,
            mail_host=settings.hostname.lower(),
            directory=settings.acme_directory,
            email=settings.acme_email,
            own_root=settings.acme_ca_root is not None,
            account=has_account(settings.state, settings.acme_directory),
        )
        if settings.acme_ca_root is not None:
            root = [File(ACME_ROOT, settings.acme_ca_root.read_text())]
    return root + render(
        settings.state,
        settings.port,
        listen=settings.listen,
        secret=secrets.derive("edge").hex(),
        guard_secret=secrets.ensure("guard"),
        trusted_proxies=settings.trusted_proxies,
        tls=tls,
        webmail_host=settings.own_webmail_host,
        webmail_https=settings.base_url.startswith("https://"),
    )


def has_account(state: Path, directory: str) -> bool:
    """Whether Caddy has an account at the authority, by its folder's layout (certmagic's `issuerKey`)."""
    address = urlsplit(directory)
    authority = f"{address.netloc}{address.path}".rstrip("/").replace(":", "-").replace("/", "-")
    return any((state / "edge/data/acme" / authority / "users").glob("*/*.json"))


def reload(settings: Settings, changed: set[str]) -> None:
    """Have Caddy read its file again; connections that are open go on."""
    command = ("caddy", "reload", "--config", f"{settings.state}/{CONFIG}", "--adapter", "caddyfile")
    socket = f"unix/{settings.state}/edge/run/admin.sock"
    done = subprocess.run((*command, "--address", socket), cwd="/", capture_output=True, text=True, check=False)
    log.info("reloaded" if done.returncode == 0 else "not running", daemon="caddy")


KEPT = {"edge": Kept(wanted, reload)}


def _certificates(ports: Mapping[str, int], tls: Tls, state: Path, guard_secret: str) -> str:
    ask = f"http://{LOOPBACK}:{ports['guard']}/edge/known-host?key={guard_secret}"
    email = f"  email {tls.email}\n" if tls.email else ""
    root = f"  acme_ca_root {state}/{ACME_ROOT}\n" if tls.own_root else ""
    return f"""  http_port {ports["http"]}
  https_port {ports["https"]}
  auto_https disable_redirects
  default_sni {tls.web_host}
{email}  acme_ca {tls.directory}
{root}  on_demand_tls {{
    ask {ask}
    interval 1m
    burst 30
  }}
"""


def _sites(ports: Mapping[str, int], tls: Tls, bind: str, web: str) -> str:
    suffix = "" if ports["https"] == HTTPS else f":{ports['https']}"
    home = f"https://{tls.web_host}{suffix}"
    first = f"""https://{tls.web_host} {{{bind}
{webmail.MOVED}{web}}}
http:// {{{bind}
  redir https://{{host}}{suffix}{{uri}} 308
}}
"""
    if not tls.account:
        return first
    mail_host = ""
    if tls.mail_host != tls.web_host and "." in tls.mail_host:
        mail_host = f"""https://{tls.mail_host} {{{bind}
  redir {home} 302
}}
"""
    return f"""{first}{mail_host}https:// {{{bind}
  tls {{
    on_demand
  }}
  @known path {" ".join(_OF_DOMAINS)}
  handle @known {{
{web}  }}
  handle {{
    redir {home} 302
  }}
}}
"""


def _web(ports: Mapping[str, int], secret: str, trusted_proxies: Sequence[str]) -> str:
    """Hand on to the web. It has limits of its own for each page; this one is for what lies about its length."""
    trusted = f"    trusted_proxies {' '.join(trusted_proxies)}\n" if trusted_proxies else ""
    return f"""  request_body {{
    max_size 260MiB
  }}
  reverse_proxy {LOOPBACK}:{ports["web"]} {{
{trusted}    header_up X-Thurn-Edge {secret}
  }}
"""
