"""The private PostgreSQL cluster: reached through a UNIX socket in the state directory and in no other way."""

from pathlib import Path

from thurn.stack.files import Directory, File

VERSIONS = Path("/usr/lib/postgresql")  # where Debian keeps its versions side by side


def directories() -> list[Directory]:
    """The server's folders. Clients of several users meet at the socket, which asks each for a password."""
    return [
        Directory("db"),
        Directory("db/cluster", 0o700, "postgres:postgres"),
        Directory("db/run", 0o755, "postgres:postgres"),
    ]


def render(state: Path) -> list[File]:
    """Configuration of the server; `initdb`'s own files in the cluster stay unread."""
    parameters: dict[str, str | int] = {
        "data_directory": f"{state}/db/cluster",
        "hba_file": f"{state}/db/pg_hba.conf",
        "ident_file": f"{state}/db/pg_ident.conf",
        "listen_addresses": "",
        "unix_socket_directories": f"{state}/db/run",
        "port": 5432,
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
    lines = [f"{name} = '{value}'" for name, value in parameters.items()]
    return [
        File("db/postgresql.conf", "\n".join(lines) + "\n"),
        File("db/pg_hba.conf", "local all postgres peer map=admin\nlocal all all scram-sha-256\n"),
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


def admin_conninfo(state: Path) -> str:
    """How root connects to administer the cluster."""
    return f"host={state}/db/run port=5432 user=postgres dbname=postgres"
