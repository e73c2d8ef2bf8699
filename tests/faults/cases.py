"""What is done to an installation in the middle of a campaign, and how it is counted afterwards."""

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from campaigns import accepted, kill, launch, tallies, wait_until_accepted, wait_until_settled
from installation import ROLES, main_processes, receivers, set_clock, stamp_as_the_kernel_would
from nodes import MACHINES, PATIENCE, until

from thurn.settings import Settings
from thurn.simulate import client
from thurn.stack.control import down, status, up
from thurn.stack.logrotate import rotate
from thurn.stack.supervisor import PIDFILE

Harm = Callable[[Settings, random.Random], int]  # does it and undoes what does not undo itself; returns kills


@dataclass(frozen=True)
class Case:
    """A fault, how often it strikes in one campaign, and in which kind of installation."""

    harm: Harm
    times: int = 3
    kind: str = "plain"
    roles: tuple[str, ...] = ()  # that have to be well again; none: all
    retry: float | None = None  # seconds after which an operator asks that deferred mail be tried
    meanwhile: Callable[[Settings], None] | None = None  # done again and again until all is settled


@dataclass(frozen=True)
class Count:
    """What came of a case: by the receivers' own count, except `unknown`, which is what the ledger shows."""

    case: str
    recipients: int
    kills: int
    missing: int
    duplicates: int
    unknown: int
    seconds_to_recover: float  # the longest: until what was hit is well and the receivers have taken another mail
    seconds: float

    @property
    def good(self) -> bool:
        """Nobody skipped, nobody twice."""
        return not self.missing and not self.duplicates


def _kill(role: str) -> Case:
    def harm(settings: Settings, dice: random.Random) -> int:
        kill(settings, role)
        return 1

    return Case(harm, roles=(role,))


def _whole_stack(settings: Settings, dice: random.Random) -> int:
    """kill -9 of the supervisor and of every role's main process, then `thurn up`.

    Postfix's agents end by themselves: one killed between a receiver's answer and its note delivers again (RFC 1047),
    and no mail server can help that.
    """
    supervisor = int((settings.state / PIDFILE).read_text())
    os.kill(supervisor, signal.SIGSTOP)  # else it restarts one while we kill the next
    running = main_processes(settings.state)
    for pid in (*running, supervisor):
        os.kill(pid, signal.SIGKILL)
    up(settings, ["db", "out", "feedback", "web", "worker", "sender"])
    return len(running) + 1


def _restart(settings: Settings, dice: random.Random) -> int:
    """`thurn down`, `thurn up`."""
    down(settings.state)
    up(settings, ROLES, wait=False)
    return 0


def _rotate(settings: Settings, dice: random.Random) -> int:
    """Rotate the log, and kill its reader in the same moment every other time."""
    rotate(settings, large=0)
    if dice.random() < 0.5:
        kill(settings, "feedback")
        return 1
    return 0


def _fill_disk(settings: Settings, dice: random.Random) -> int:
    """Everything but the receivers finds no room for a while."""
    ballast = settings.state / "ballast"
    with ballast.open("wb", buffering=0) as file:
        end = time.monotonic() + dice.uniform(5, 10)
        while time.monotonic() < end:  # whatever is freed meanwhile is taken, too
            try:
                file.write(bytes(2**20))
            except OSError:
                try:
                    file.write(bytes(4096))
                except OSError:
                    time.sleep(0.05)
    ballast.unlink()
    return 0


def _step_clock(settings: Settings, dice: random.Random) -> int:
    """Forward or back by minutes to hours."""
    set_clock(settings.state, dice.choice((-1, 1)) * dice.randrange(60, 2 * 3600))
    return 0


def _cut_network(settings: Settings, dice: random.Random) -> int:
    """Nothing comes back from the receivers for a while: what was sent to them waits, as behind a broken cable."""
    pid = receivers(settings)
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(dice.uniform(5, 20))
    finally:
        os.kill(pid, signal.SIGCONT)
    return 0


def _second_machine(settings: Settings, dice: random.Random) -> int:
    """kill -9 of everything on the second machine; it is started again, every other time from a copy of its disk."""
    machine = MACHINES[settings.state]
    killed = machine.kill()
    if dice.random() < 0.5:
        machine.move_disk()
    machine.up()
    return killed


def _cut_cable(settings: Settings, dice: random.Random) -> int:
    """The second machine reaches the receivers and not the first one, for shorter or longer than it waits."""
    machine = MACHINES[settings.state]
    machine.cut()
    try:
        time.sleep(dice.uniform(0, 3 * PATIENCE))
    finally:
        machine.mend()
    until("the second machine goes on", machine.able)
    return 0


CASES: dict[str, Case] = {
    "sender": _kill("sender"),
    "worker": _kill("worker"),
    "web": _kill("web"),
    "feedback": _kill("feedback"),
    "db": _kill("db"),
    "out": _kill("out"),
    "stack": Case(_whole_stack, times=2),
    "restart": Case(_restart),
    "log": Case(_rotate),
    "network": Case(_cut_network, times=2),
    "disk": Case(_fill_disk, times=2, kind="disk"),
    "machine": Case(_second_machine, times=3, kind="two machines"),
    "cable": Case(_cut_cable, times=3, kind="two machines"),
    # After a step forward Postfix takes its mail for so much older and puts it off for up to 67 minutes.
    "clock": Case(_step_clock, times=4, kind="clock", retry=60, meanwhile=stamp_as_the_kernel_would),
}


async def run(settings: Settings, name: str, recipients: int, seed: int, *, times: int | None = None) -> Count:
    """One campaign with one kind of fault at moments that follow from `seed`, counted."""
    case = CASES[name]
    dice = random.Random(f"{seed}:{name}")
    begun = time.monotonic()
    before = accepted(settings)
    campaign, addresses = await launch(settings, recipients)
    kills, slowest = 0, 0.0
    patience = 120 + recipients / 20
    for share in sorted(dice.uniform(0.02, 0.8) for _ in range(times or case.times)):
        wait_until_accepted(settings, before + int(recipients * share), patience)
        struck = time.monotonic()
        kills += case.harm(settings, dice)
        _wait_until_well(settings, case, campaign, recipients)
        slowest = max(slowest, time.monotonic() - struck)
    found = wait_until_settled(settings, campaign, recipients, patience, retry=case.retry, meanwhile=case.meanwhile)
    truth = client.truth(settings, campaign=campaign, expected=addresses, dkim=False)
    if truth.missing or truth.duplicates:
        print(name, truth.samples, flush=True)
    return Count(
        name, recipients, kills, truth.missing or 0, truth.duplicates, found.get("unknown", 0),
        round(slowest, 1), round(time.monotonic() - begun, 1),
    )  # fmt: skip


def _wait_until_well(settings: Settings, case: Case, campaign: int, recipients: int) -> None:
    end = time.monotonic() + 180
    seen = accepted(settings)
    wanted = case.roles or ("db", "out", "feedback", "web", "worker", "sender")
    while True:
        found = status(settings)
        # Signs of life carry the installation's time, and we have the machine's.
        well = all(
            found[role].process.state == "running" if case.kind == "clock" else found[role].ok for role in wanted
        )
        # Mail at an age of seconds is retried; nobody may be left to send to.
        moved = accepted(settings) > seen or tallies(settings, campaign).get("handed_over", 0) >= recipients
        if well and moved:
            return
        state = {role: found[role].health for role in wanted}
        assert time.monotonic() < end, f"not well after 180 s: {state}, more mail taken: {moved}"
        time.sleep(0.1)


def summary(counts: list[Count], seed: int) -> dict[str, object]:
    """Per case and in total, as `make faults` prints it."""
    total = {
        name: sum(getattr(count, name) for count in counts)
        for name in ("recipients", "kills", "missing", "duplicates", "unknown")
    }
    slowest = max((count.seconds_to_recover for count in counts), default=0.0)
    return {
        "seed": seed,
        "cases": {count.case: {k: v for k, v in asdict(count).items() if k != "case"} for count in counts},
        "total": total | {"seconds_to_recover": slowest},
    }
