"""What the benchmarks share: CPU time and memory by process group, and where results go."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg

from thurn.db.connect import conninfo
from thurn.settings import Settings, load_settings
from thurn.stack.control import status

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024


def _processes() -> dict[int, list[str]]:
    """Process id -> the fields of its stat line after the name."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found[int(entry.name)] = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


def _tree(root: int, processes: dict[int, list[str]]) -> list[int]:
    children: dict[int, list[int]] = {}
    for pid, fields in processes.items():
        children.setdefault(int(fields[1]), []).append(pid)
    tree, todo = [], [root]
    while todo:
        pid = todo.pop()
        if pid in processes:
            tree.append(pid)
            todo += children.get(pid, [])
    return tree


def _roots(state: Path) -> dict[str, int]:
    return {role: s.process.pid for role, s in status(load_settings(state)).items() if s.process.pid}


def cpu_seconds(state: Path, others: dict[str, int] | None = None) -> dict[str, float]:
    """User and system time of each role's processes, children that have ended included."""
    processes = _processes()
    return {
        group: sum(sum(map(int, processes[pid][11:15])) for pid in _tree(root, processes)) / _TICKS
        for group, root in {**_roots(state), **(others or {})}.items()
    }


def pin(state: Path, cores: dict[str, set[int]], others: dict[int, set[int]] | None = None) -> None:
    """Let each role's processes, and what they start, run on these cores only; `others` by process id."""
    processes = _processes()
    wanted = {pid: cores[role] for role, root in _roots(state).items() for pid in _tree(root, processes)}
    for pid, where in {**wanted, **(others or {})}.items():
        for task in _tasks(pid):
            with suppress(ProcessLookupError):
                os.sched_setaffinity(task, where)


def _tasks(pid: int) -> list[int]:
    try:
        return [int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir()]
    except FileNotFoundError:
        return []


def resident(state: Path) -> dict[str, int]:
    """Resident set of each role's processes in KiB; pages that processes share are counted in each."""
    processes = _processes()
    return {
        role: sum(int(processes[pid][21]) * _PAGE_KIB for pid in _tree(root, processes))
        for role, root in _roots(state).items()
    }


def proportional(state: Path) -> dict[str, int]:
    """Proportional set of each role's processes in KiB: what processes share is divided among them."""
    processes = _processes()
    sizes: dict[str, int] = {}
    for role, root in _roots(state).items():
        for pid in _tree(root, processes):
            try:
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            sizes[role] = sizes.get(role, 0) + next(
                int(x.split()[1]) for x in rollup.splitlines() if x.startswith("Pss:")
            )
    return sizes


def difference(after: dict[str, float], before: dict[str, float]) -> dict[str, float]:
    """Group by group, rounded to hundredths."""
    return {group: round(value - before.get(group, 0.0), 2) for group, value in after.items()}


def analyze(settings: Settings, table: str = "") -> None:
    """Statistics as autovacuum makes them sooner or later, of a table or of all; its owner alone may make them."""
    with psycopg.connect(conninfo(settings, "owner"), autocommit=True) as db:
        db.execute(f"VACUUM ANALYZE {table}")


def save(name: str, result: dict[str, Any]) -> None:
    """Write var/bench/NAME.json and print a line."""
    folder = Path("var/bench")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    print(
        f"{name:10} ours {result['ours']:>10} peer {result['peer']:>10} ratio {result['ratio']:>7}   {result['what']}"
    )
