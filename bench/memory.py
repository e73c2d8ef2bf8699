"""`memory`: resident set of our own processes, idle and in the middle of a campaign.

RSS counts what processes share (the interpreter, libraries) in each of them; PSS, given beside it, counts it once. The
peer is as many bare Python interpreters that do nothing. Writes var/bench/memory.json.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from common import proportional, resident, save
from send import delivered, prepare

from thurn.campaigns import service
from thurn.db.connect import connect
from thurn.settings import Settings
from thurn.stack.control import down, start_stack

ROLES = ["db", "simulate", "out", "feedback", "web", "worker", "sender"]
OURS = ("feedback", "web", "worker", "sender")
RECIPIENTS = 10_000


async def while_sending(settings: Settings, campaign: int) -> tuple[dict[str, int], dict[str, int]]:
    """The largest RSS of each role during a campaign, and the PSS at that time, KiB."""
    rss: dict[str, int] = {}
    pss: dict[str, int] = {}
    async with await connect(settings, "system", autocommit=True) as db:
        async with db.transaction():
            await service.launch(db, 1, campaign, settings)
        while await delivered(db, campaign) < RECIPIENTS // 2:
            for role, size in resident(settings.state).items():
                if size > rss.get(role, 0):
                    rss[role] = size
                    pss[role] = proportional(settings.state)[role]
            await asyncio.sleep(0.5)
    return rss, pss


def bare() -> int:
    """RSS of as many interpreters that do nothing, KiB."""
    children = [
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        for _ in OURS
    ]
    time.sleep(1)
    pages = sum(int(Path(f"/proc/{child.pid}/statm").read_text().split()[1]) for child in children)
    for child in children:
        child.kill()
        child.wait()
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def run(state: Path) -> dict[str, Any]:
    """The whole benchmark in a state directory of its own."""
    (state / "thurn.toml").write_text('hostname = "mail.bench.example"\nsimulate = true\n')
    settings = start_stack(state, ROLES)
    time.sleep(5)
    idle, idle_pss = resident(state), proportional(state)
    campaign = asyncio.run(prepare(settings, RECIPIENTS))
    sending, sending_pss = asyncio.run(while_sending(settings, campaign))

    def mib(sizes: dict[str, int]) -> dict[str, float]:
        return {role: round(sizes[role] / 1024, 1) for role in OURS} | {
            "together": round(sum(sizes[role] for role in OURS) / 1024, 1)
        }

    ours, peer = sum(sending[role] for role in OURS) / 1024, bare() / 1024
    return {
        "what": f"our {len(OURS)} roles in the middle of a campaign to {RECIPIENTS}, RSS; peer: bare interpreters",
        "unit": "MiB",
        "ours": round(ours, 1),
        "peer": round(peer, 1),
        "ratio": round(ours / peer, 2),
        "idle_rss": mib(idle),
        "sending_rss": mib(sending),
        "idle_pss": mib(idle_pss),
        "sending_pss": mib(sending_pss),
        "cpu_seconds": {},
    }


def main() -> None:
    """Run in a temporary installation, print the result, write var/bench/memory.json."""
    state = Path(tempfile.mkdtemp(prefix="thurn-bench-", dir="/tmp"))
    state.chmod(0o755)
    try:
        save("memory", run(state))
    finally:
        down(state)
        shutil.rmtree(state)
    print(json.dumps(json.loads(Path("var/bench/memory.json").read_text()), indent=1))


if __name__ == "__main__":
    main()
