"""`track`: opens and clicks a second on one core, until every hit is in the database.

Web, worker and PostgreSQL run as they always do, all of them on CPU 0; the client runs on CPU 1. Ours is timed from the
first request until the last hit stands as an event, so the loader's hold-back counts too. The peer answers the same
bytes on the same server and does nothing else: what HTTP alone costs. Writes var/bench/track.json.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import selectors
import shutil
import socket
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from common import analyze, cpu_seconds, difference, save

from thurn.db.connect import connect
from thurn.mail.tokens import TrackingTokens
from thurn.secrets import Secrets
from thurn.settings import Settings
from thurn.stack.control import down, start_stack
from thurn.tracking.loader import LAG
from thurn.tracking.routes import PIXEL
from thurn.tracking.spool import directory

ROLES = ["db", "web", "worker"]
RECIPIENTS = 20_000
CLICKS = 0.3  # of all hits
CONNECTIONS, AHEAD = 32, 8  # requests that are on the way on each connection
SERVER, CLIENT = 0, 1  # CPUs
AGENTS = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
    "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
    "Mozilla/5.0",
]


async def prepare(settings: Settings) -> None:
    """A campaign that was delivered to `RECIPIENTS` an hour ago, with three links."""
    async with await connect(settings, "system", autocommit=True) as db:
        await db.execute(
            "INSERT INTO campaign (workspace_id, name, from_address, state) VALUES (1, 'Bench', 'a@b.example', 'sent')"
        )
        await db.execute(
            "INSERT INTO campaign_link SELECT 1, n, 1, 'https://shop.example/page/' || n FROM generate_series(1, 3) n"
        )
        await db.execute(
            "INSERT INTO contact (workspace_id, email) SELECT 1, 'reader' || n || '@sink.example' "
            "FROM generate_series(1, %s) n",
            [RECIPIENTS],
        )
        await db.execute(
            """INSERT INTO delivery (campaign_id, workspace_id, contact_id, recipient, provider, state, handed_over_at,
                                     settled_at)
               SELECT 1, 1, id, email, (ARRAY['google', 'microsoft', 'gmx', 'other'])[id %% 4 + 1], 'delivered',
                      now() - interval '1 hour', now() - interval '1 hour'
               FROM contact""",
            [],
        )
        analyze(settings)


def requests(settings: Settings, hits: int) -> list[bytes]:
    """Requests as readers' programs send them, each delivery more than once."""
    tokens = TrackingTokens(Secrets(settings.state).derive("tracking"))
    dice = random.Random(1)
    made = []
    for _ in range(hits):
        delivery, agent = dice.randint(1, RECIPIENTS), dice.choice(AGENTS)
        if dice.random() < CLICKS:
            link = dice.randint(1, 3)
            path = f"/c/{tokens.make('c', 1, 1, delivery, link)}"
        else:
            path = f"/o/{tokens.make('o', 1, 1, delivery)}"
        made.append(
            f"GET {path} HTTP/1.1\r\nHost: mail.bench.example\r\nUser-Agent: {agent}\r\nAccept: */*\r\n"
            "Accept-Language: de-DE,de;q=0.9\r\nAccept-Encoding: gzip\r\n\r\n".encode()
        )
    return made


def fetch(port: int, made: list[bytes]) -> None:
    """Send every request and wait for every answer; the number of answers is what is counted."""
    os.sched_setaffinity(0, {CLIENT})
    selector = selectors.DefaultSelector()
    todo, answered = iter(made), 0
    tails: dict[socket.socket, bytes] = {}
    for _ in range(CONNECTIONS):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(connection, selectors.EVENT_READ)
        tails[connection] = b""
        connection.sendall(b"".join(islice(todo, AHEAD)))
    while answered < len(made):
        ready = selector.select(timeout=10)
        assert ready, f"only {answered} of {len(made)} were answered as they should be"
        for key, _ in ready:
            connection = key.fileobj
            assert isinstance(connection, socket.socket)
            received = connection.recv(65536)
            assert received, "the server hung up"
            data = tails[connection] + received
            done = data.count(b"HTTP/1.1 200") + data.count(b"HTTP/1.1 302")
            tails[connection] = data[-11:]  # may be the first part of one, never a whole one
            answered += done
            connection.sendall(b"".join(islice(todo, done)))
    for connection in tails:
        connection.close()


def timed(port: int, made: list[bytes]) -> float:
    """Seconds until all are answered; the client is a process of its own, on its own CPU."""
    client = multiprocessing.get_context("fork").Process(target=fetch, args=(port, made))
    began = time.monotonic()
    client.start()
    client.join()
    assert client.exitcode == 0
    return time.monotonic() - began


async def loaded(settings: Settings, hits: int) -> None:
    """Wait until every hit is an event; neither more nor fewer."""
    async with await connect(settings, "system", autocommit=True) as db:
        while True:
            row = await (await db.execute("SELECT count(*)::int AS n FROM event")).fetchone()
            assert row
            if row["n"] >= hits:
                assert row["n"] == hits, f"{row['n']} events of {hits} hits"
                return
            await asyncio.sleep(0.2)


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """The peer: the same answers, and nothing else."""
    if scope["path"].startswith("/c/"):
        headers = [(b"location", b"https://shop.example/page/1"), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 302, "headers": headers})
        await send({"type": "http.response.body", "body": b""})
    else:
        headers = [(b"content-type", b"image/gif"), (b"content-length", b"43")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": PIXEL})


def serve_bare(port: int) -> None:
    """Run the peer as thurn.web.serve runs the web."""
    import uvloop
    from granian.constants import Interfaces
    from granian.server.embed import Server

    server = Server(
        bare, address="127.0.0.1", port=port, interface=Interfaces.ASGINL, websockets=False, log_access=False
    )
    uvloop.run(server.serve())


def peer(made: list[bytes]) -> tuple[float, float]:
    """(seconds, CPU seconds) of the peer for the same requests."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = multiprocessing.get_context("spawn").Process(target=serve_bare, args=(port,))
    server.start()
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        fetch_before = _cpu(server.pid)
        seconds = timed(port, made)
        return seconds, _cpu(server.pid) - fetch_before
    finally:
        server.kill()
        server.join()


def _cpu(pid: int | None) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(hits: int, state: Path) -> dict[str, Any]:
    """The whole benchmark in a state directory of its own."""
    os.sched_setaffinity(0, {SERVER})  # whatever is started from here stays there
    (state / "thurn.toml").write_text('hostname = "mail.bench.example"\nsimulate = true\n')
    settings = start_stack(state, ROLES)
    asyncio.run(prepare(settings))
    made = requests(settings, hits)
    before = cpu_seconds(state)
    began = time.monotonic()
    answered = timed(settings.port["web"], made)
    asyncio.run(loaded(settings, hits))
    seconds = time.monotonic() - began
    cpu = difference(cpu_seconds(state), before)
    assert sum(path.stat().st_size for path in directory(state).glob("hits-*.log")) > 0
    peer_seconds, peer_cpu = peer(made)
    return {
        "what": f"{hits} hits, {CLICKS:.0%} clicks, {RECIPIENTS} recipients, all roles on one core, "
        f"held back {LAG:.1f} s, {CONNECTIONS} connections with {AHEAD} requests ahead",
        "unit": "hits a second, in the database",
        "ours": round(hits / seconds),
        "peer": round(hits / peer_seconds),
        "ratio": round(peer_seconds / seconds, 3),
        "answered_a_second": round(hits / answered),
        "of_cpu_time_alone": round(hits / sum(cpu.values())),  # what a core with nothing else to do would reach
        "cpu_seconds": {**cpu, "peer": round(peer_cpu, 2)},
        "cpu_us_per_hit": {group: round(value / hits * 1e6, 1) for group, value in cpu.items()},
    }


def main() -> None:
    """Run in a temporary installation, print the result, write var/bench/track.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hits", type=int, default=200_000)
    arguments = parser.parse_args()
    state = Path(tempfile.mkdtemp(prefix="thurn-bench-", dir="/tmp"))
    state.chmod(0o755)
    try:
        save("track", run(arguments.hits, state))
    finally:
        down(state)
        if not os.environ.get("KEEP"):
            shutil.rmtree(state)
    print(json.dumps(json.loads(Path("var/bench/track.json").read_text()), indent=1))


if __name__ == "__main__":
    main()
