"""Redis: the memory of Rspamd (statistics, rate limits, history), and of nothing else."""

from pathlib import Path

from thurn.stack.files import Directory, File


def directories() -> list[Directory]:
    """The server's folder."""
    return [Directory("redis", 0o750, "redis:redis")]


def render(state: Path, port: int, password: str) -> list[File]:
    """Configuration of the server, on loopback, with a password."""
    text = f"""bind 127.0.0.1
port {port}
requirepass {password}
dir {state}/redis
daemonize no
logfile ""
databases 1
maxmemory 64mb
maxmemory-policy volatile-ttl
save 900 1 300 100 60 10000
appendonly no
"""
    return [File("redis/redis.conf", text, 0o640, "root:redis")]
