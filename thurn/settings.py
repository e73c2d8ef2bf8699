"""What an operator decides, and where things are. One state directory is one installation.

Settings come from `<state>/thurn.toml`, overruled by environment variables with the prefix `THURN_`.
Ports are chosen once and kept in `<state>/ports.json`, so that two installations side by side do not collide.
"""

import errno
import json
import os
import secrets
import socket
from collections.abc import Iterator
from functools import cached_property
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

LOOPBACK = "127.0.0.1"

# Service -> its standard port. `None`: internal, always a free loopback port.
SERVICES: dict[str, int | None] = {
    "smtp": 25,
    "submission": 587,
    "submissions": 465,
    "imap": 143,
    "imaps": 993,
    "pop3s": 995,
    "managesieve": 4190,
    "http": 80,  # Caddy: pages, API, tracking
    "https": 443,
    "webmail": 8080,  # Caddy: webmail, where it has no host of its own
    "web": None,  # our own pages and API, behind Caddy
    "guard": None,  # HTTP: what Dovecot, Rspamd, Roundcube and Caddy ask us
    "guard_policy": None,  # what Postfix asks us (its policy delegation protocol)
    "guard_maps": None,  # what Postfix looks up with us (socketmap)
    "quota_status": None,  # what Postfix asks Dovecot: is this mailbox full
    "forward": None,  # Postfix `mx`: what is sent on leaves by it
    "filters": None,  # Postfix `mx`: what people's filters send on and answer; only Dovecot speaks to it
    "webmail_imap": None,  # the doors that only webmail uses
    "webmail_sieve": None,
    "webmail_smtp": None,
    "out": None,  # Postfix `out`: takes what the sender hands over
    "feedback": None,  # LMTP: bounces and complaints
    "redis": None,
    "milter": None,  # Rspamd's proxy worker
    "rspamd": None,  # Rspamd's controller
    "sim_smtp": None,  # the simulated internet: receivers, DNS, control over HTTP
    "sim_dns": None,
    "sim_http": None,
}


def _network(text: str) -> str:
    return str(ip_network(text, strict=False))


# An address or a network (CIDR), kept as a network.
Network = Annotated[str, AfterValidator(_network)]
HostName = Annotated[str, StringConstraints(to_lower=True, pattern=r"^([a-zA-Z0-9-]{1,63}(\.[a-zA-Z0-9-]{1,63})+)?$")]
# Without what would end a word in a Caddyfile.
HttpsUrl = Annotated[str, StringConstraints(pattern=r"^https://[^\s{}\"`]+$")]


class Settings(BaseSettings):
    """Every setting of an installation; the reference in docs/operate is made from these descriptions."""

    model_config = SettingsConfigDict(env_prefix="THURN_", extra="forbid")

    state: Path = Field(description="The state directory: data, configuration, logs, secrets.")
    hostname: str = Field(default_factory=socket.getfqdn, description="This server's name in SMTP, HELO and URLs.")
    node: str = Field(default="main", description="Name of this machine where several send.")
    joined: str = Field(
        default="", description="On a further sending machine: the installation it sends for. `thurn join` writes it."
    )
    node_patience: int = Field(
        default=600, ge=10, description="Seconds without the database until a further machine stops its own Postfix."
    )
    ports: Literal["free", "standard"] = Field(
        default="free", description="`standard`: 25, 587, 993 and so on; `free`: any free port, on loopback."
    )
    listen: str = Field(default="127.0.0.1", description="Address that mail and web services listen on.")
    base_url: str = Field(default="", description="Public address of web and tracking; empty: the local one.")
    webmail_host: HostName = Field(
        default="",
        description="With an https base_url: the host of webmail and nothing else; empty: webmail.<hostname>.",
    )
    trusted_proxies: list[Network] = Field(
        default=[], description="Proxies of yours in front (addresses or networks), believed about who the client is."
    )
    https: Literal["own", "proxy"] = Field(
        default="own",
        description="With an https base_url: `own` gets certificates and speaks TLS; `proxy`: one of yours does.",
    )
    acme_directory: HttpsUrl = Field(
        default="https://acme-v02.api.letsencrypt.org/directory", description="Who gives certificates (RFC 8555)."
    )
    acme_email: str = Field(
        default="", pattern=r"^([^\s{}\"`@]+@[^\s{}\"`@]+)?$", description="Where who gives them may write to you."
    )
    acme_ca_root: Path | None = Field(
        default=None, description="Root certificate (PEM) of an ACME server of your own, if no system knows it."
    )
    mail_certificate: Path | None = Field(
        default=None,
        description="A certificate (PEM, with its chain) for mail that you renew yourself.",
    )
    mail_key: Path | None = Field(default=None, description="The private key of mail_certificate (PEM).")
    database_url: str = Field(default="", description="A PostgreSQL of your own; empty: a private cluster.")
    database_listen: str = Field(
        default="", description="Address at which further sending machines reach the private cluster; empty: none."
    )
    database_port: int = Field(default=5432, ge=1, le=65535, description="Port of the private cluster.")
    dns: list[str] = Field(default=[], description="Resolvers as `address:port`; empty: the system's.")
    simulate: bool = Field(
        default=False, description="Send everything to the simulated internet on loopback; nothing leaves the machine."
    )
    simulate_at: str = Field(
        default=LOOPBACK, description="A further address of the simulated internet, for other machines."
    )
    simulate_seed: int = Field(default=1, description="Chooses how the simulated receivers behave.")
    log_days: int = Field(default=7, ge=1, description="How many days of Postfix's logs are kept as files.")
    moves_private: bool = Field(
        default=False, description="Whether mailboxes may be moved here from servers on private networks."
    )
    trace_days: int = Field(default=30, ge=1, description="How many days back the message trace can be searched.")
    country_database: Path | None = Field(
        default=None, description="An MMDB file with countries of addresses, for the pages of DMARC reports."
    )
    retry_first: int = Field(default=300, description="Seconds until a deferred mail is tried again; grows from there.")
    retry_hours: int = Field(
        default=48, ge=1, le=240, description="Hours a campaign's mail is tried before it counts as a soft bounce."
    )
    retry_hours_other: int = Field(
        default=120, ge=1, le=240, description="The same for all other mail that Thurn sends: transactional, alerts."
    )

    @model_validator(mode="after")
    def _webmail_alone(self) -> Self:
        if self.own_webmail_host and self.own_webmail_host in (self.web_host, self.hostname.lower()):
            raise ValueError("webmail_host must be a host that nothing else uses: a script in webmail could act there.")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment over file; the file is the one of the state directory at hand."""
        del dotenv_settings, file_secret_settings
        state = init_settings().get("state") or env_settings().get("state")
        toml = TomlConfigSettingsSource(settings_cls, toml_file=Path(str(state)) / "thurn.toml")
        return init_settings, env_settings, toml

    @cached_property
    def port(self) -> dict[str, int]:
        """Service -> port, as `allocate_ports` has chosen them."""
        ports: dict[str, int] = json.loads((self.state / "ports.json").read_text())
        return ports

    @property
    def url(self) -> str:
        """Base of every link that leaves the house, without a trailing slash."""
        return self.base_url.rstrip("/") or f"http://{self.listen}:{self.port['http']}"

    @property
    def web_host(self) -> str:
        """The host name of the web interface; empty while only the local address reaches it."""
        return (urlsplit(self.base_url).hostname or "").lower()

    @property
    def own_webmail_host(self) -> str:
        """The host that webmail has for itself; empty where it has a port for itself instead."""
        if not self.base_url.startswith("https://"):
            return ""
        hostname = self.hostname.lower().rstrip(".")
        return self.webmail_host or f"webmail.{hostname if '.' in hostname else self.web_host}"

    @property
    def webmail_url(self) -> str:
        """Where webmail is, without a trailing slash: never the origin of the web interface.

        Cookies know no ports. So on the loopback address, where it costs nothing, the name differs too.
        """
        if self.own_webmail_host:
            return self.https_url(self.own_webmail_host)
        host = "localhost" if self.listen == LOOPBACK else self.web_host or self.listen
        return f"http://{host}:{self.port['webmail']}"

    def https_url(self, host: str) -> str:
        """A host other than that of base_url, as people reach it by https."""
        port = f":{self.port['https']}" if self.tls and self.port["https"] != SERVICES["https"] else ""
        return f"https://{host}{port}"

    @property
    def tls(self) -> bool:
        """Whether Caddy gets certificates and speaks TLS with browsers."""
        return self.base_url.startswith("https://") and self.https == "own"

    @property
    def receivers(self) -> str:
        """Where the simulated receivers are, seen from this machine."""
        return self.simulate_at if self.joined else LOOPBACK

    @property
    def nameservers(self) -> list[tuple[str, int]]:
        """Resolvers to ask; empty means the system's."""
        if self.simulate and not self.dns:
            return [("127.0.0.1", self.port["sim_dns"])]
        split = [entry.rpartition(":") for entry in self.dns]
        return [(host, int(port)) for host, _, port in split]


def load_settings(state: Path | str | None = None) -> Settings:
    """The state directory at hand: the argument, else THURN_STATE, else ./var in a checkout, else /var/lib/thurn."""
    if state is None:
        state = os.environ.get("THURN_STATE")
    if state is None:
        in_checkout = Path("pyproject.toml").exists() and Path("thurn/settings.py").exists()
        state = "var" if in_checkout else "/var/lib/thurn"
    return Settings(state=Path(state).resolve())


BLOCKS = 600


def port_of(block: int) -> int:
    """The first port of a block, which is as many as an installation needs.

    Below the range the kernel takes for outgoing connections (Linux: 32768 and up): one of those, opened between the
    choice and the daemon's start, would have taken its port.
    """
    return 10000 + 32 * block


def first_block() -> int:
    """Where an installation looks for ports: at random, so that two at once seldom meet."""
    return secrets.randbelow(BLOCKS)


def allocate_ports(settings: Settings) -> dict[str, int]:
    """Choose ports for services that have none yet and remember them. Never changes one that was chosen."""
    path = settings.state / "ports.json"
    ports: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
    held = []
    start = port_of(first_block())
    candidates = iter(range(start, start + 2000))
    for service, standard in SERVICES.items():
        if service in ports:
            continue
        if settings.ports == "standard" and standard is not None:
            ports[service] = standard
            continue
        probe = _first_free(candidates)
        held.append(probe)  # kept open, so that no port is given twice
        ports[service] = probe.getsockname()[1]
    for probe in held:
        probe.close()
    path.write_text(json.dumps(ports, indent=1) + "\n")
    settings.__dict__.pop("port", None)
    return ports


def _first_free(candidates: Iterator[int]) -> socket.socket:
    """A socket bound to the first loopback port nobody has."""
    for port in candidates:
        probe = socket.socket()
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            probe.close()
            continue
        return probe
    raise OSError(errno.EADDRINUSE, "No free port on 127.0.0.1 among two thousand that were tried")
