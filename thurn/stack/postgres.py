"""The private PostgreSQL cluster: reached through a UNIX socket in the state directory.

And in no other way, unless further machines send (`database_listen`): those over TLS, each by a role of its own.
"""

from pathlib import Path

from thurn.stack import tls
from thurn.stack.files import Directory, File

CERTIFICATE = "db/server.crt"
KEY = "db/server.key"
VERSIONS = Path("/usr/lib/postgresql")  # where Debian keeps its versions side by side


def directories() -> list[Directory]:
    """The server's folders. Clients of several users meet at the socket, which asks each for a password."""
    return [
        Directory("db"),
        Directory("db/cluster", 0o700, "postgres:postgres"),
        Directory("db/run", 0o755, "postgres:postgres"),
    ]


def certificate(hostname: str) -> list[File]:
    """Self-signed: further machines get it when they join, and believe no other."""
    chain, key = tls.make_pair(hostname)
    return [File(CERTIFICATE, chain), File(KEY, key, 0o600, "postgres:postgres")]


def render(state: Path, listen: str = "", port: int = 5432) -> list[File]:
    """Configuration of the server; `initdb`'s own files in the cluster stay unread."""
    parameters: dict[str, str | int] = {
        "data_directory": f"{state}/db/cluster",
        "hba_file": f"{state}/db/pg_hba.conf",
        "ident_file": f"{state}/db/pg_ident.conf",
        "listen_addresses": listen,
        "unix_socket_directories": f"{state}/db/run",
        "port": port,
        "max_connections": 100,
        "shared_buffers": "128MB",
        "work_mem": "8MB",
        "maintenance_work_mem": "64MB",
        "max_wal_size": "1GB",
        "wal_compression": "on",
        "random_page_cost": "1.1",
        "jit": "off",  # compiling costs more than our short queries take
        "password_encryption": "scram-sha-256",
        "log_line_prefix": "%m [%p] %u ",
        "log_timezone": "UTC",
        "timezone": "UTC",
    }
    hba = "local all postgres peer map=admin\nlocal all all scram-sha-256\n"
    if listen:
        parameters |= {
            "ssl": "on", "ssl_cert_file": f"{state}/{CERTIFICATE}", "ssl_key_file": f"{state}/{KEY}",
            "ssl_min_protocol_version": "TLSv1.3",
        }  # fmt: skip
        hba += "hostssl thurn +thurn_node all scram-sha-256\n"
    lines = [f"{name} = '{value}'" for name, value in parameters.items()]
    return [
        File("db/postgresql.conf", "\n".join(lines) + "\n"),
        File("db/pg_hba.conf", hba),
        # Root prepares roles and schema, and could become the user postgres anyway.
        File("db/pg_ident.conf", "admin root postgres\nadmin postgres postgres\n"),
    ]


def binaries(state: Path, versions: Path = VERSIONS) -> Path:
    """The folder with the programs of the version that made the cluster; of the newest one if there is no cluster.

    Raises FileNotFoundError with a text for people when that version is not installed.
    """
    marker = state / "db" / "cluster" / "PG_VERSION"
    if marker.exists():
        version = marker.read_text().strip()
        if not (versions / version / "bin" / "postgres").exists():
            raise FileNotFoundError(
                f"The database in {state}/db/cluster was made by PostgreSQL {version}, which is not installed here. "
                f"Install the package postgresql-{version}, or upgrade the cluster with pg_upgrade."
            )
        return versions / version / "bin"
    found = sorted(versions.glob("*/bin/postgres"), key=lambda path: float(path.parts[-3]))
    if not found:
        raise FileNotFoundError("PostgreSQL is not installed. Run `deploy/install-packages` as root.")
    return found[-1].parent


def admin_conninfo(state: Path, port: int = 5432) -> str:
    """How root connects to administer the cluster."""
    return f"host={state}/db/run port={port} user=postgres dbname=postgres"
