"""Two machines send one campaign at its speed; one dies or is cut off: nobody is skipped, nobody gets it twice.

`make faults` also starts it again where it was, several times.
"""

import csv
import io
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator

import psycopg
import pytest
from campaigns import accepted, launch, tallies, wait_until_accepted, wait_until_settled
from nodes import MACHINES, Machine, arrivals, came, heard, here, question, refused, show, tried, two_machines, until

from thurn.campaigns import service
from thurn.db.connect import connect, conninfo
from thurn.delivery.pacing import BURST
from thurn.nodes.service import silence
from thurn.settings import Settings
from thurn.simulate import client
from thurn.simulate.truth import Truth
from thurn.stack.control import status
from thurn.stack.roles import OF_NODE

RECIPIENTS = 2000
HELO = {"mail.house.example", "two.house.example"}
Machines = tuple[Settings, Machine]


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    """The first one and the second."""
    with two_machines() as main:
        yield main, MACHINES[main.state]


async def _campaign(
    machines: Machines, harm: Callable[[Machine], None]
) -> tuple[int, list[str], Truth, dict[str, int]]:
    """A campaign over both, with harm to the second in the middle of it; what the receivers and the ledger say."""
    main, second = machines
    before = accepted(main)
    campaign, addresses = await launch(main, RECIPIENTS)
    wait_until_accepted(main, before + RECIPIENTS // 4)
    until("both send", lambda: set(came(main, campaign)) == HELO)
    harm(second)
    found = wait_until_settled(main, campaign, RECIPIENTS)
    return campaign, addresses, client.truth(main, campaign=campaign, expected=addresses, dkim=False), found


def _put_off(main: Settings, second: Machine) -> None:
    """What it tries is put off from now on, so that it has something to send for as long as it may."""
    client.mood(main, "other", "tempfail", client=second.net.second)
    before = refused(main, "n2")
    until("it has mail that it tries again", lambda: refused(main, "n2") > before + 20)


@pytest.mark.stack
async def test_a_machine_that_is_killed_and_whose_disk_comes_back_skips_nobody_and_repeats_nobody(
    machines: Machines,
) -> None:
    def harm(second: Machine) -> None:
        second.kill()
        second.move_disk()
        second.up()

    _, _, truth, _ = await _campaign(machines, harm)
    assert (truth.missing, truth.duplicates) == (0, 0)


@pytest.mark.stack
async def test_two_machines_keep_to_a_campaigns_speed_together_and_one_alone_takes_all_of_it(
    machines: Machines,
) -> None:
    main, second = machines
    speed = 10.0  # mails a second
    asked = time.time()
    campaign, addresses = await launch(main, RECIPIENTS, speed=int(speed * 60))

    def sent() -> dict[str, list[float]]:
        return arrivals(main, campaign)

    def both_for_a_while() -> bool:
        found = sent()
        return set(found) == HELO and min(times[-1] for times in found.values()) > 6 + min(
            times[0] for times in found.values()
        )

    def more_than_half() -> bool:
        times = sent()["mail.house.example"]
        return any(n > speed / 2 * (at - asked + BURST) for n, at in enumerate(times, 1))

    until("both send, each its part", both_for_a_while, patience=120)
    second.kill()
    until("the first one takes the other's part, too", more_than_half, patience=120)
    async with await connect(main, "system") as db:
        await service.cancel(db, 1, campaign)
    # Load makes mails late, never early: whatever arrived was claimed before, within the limit and one burst. The other
    # burst is for machines that see each other go and come at different moments.
    arrived = sorted(at for times in sent().values() for at in times)
    early = [at for n, at in enumerate(arrived, 1) if n > speed * (at - asked + 2 * BURST)]
    assert early == [], f"{len(arrived)} in {arrived[-1] - asked:.1f} s"
    second.up()
    until("it takes mail again", second.able)
    assert client.truth(main, campaign=campaign, expected=addresses, dkim=False).duplicates == 0


@pytest.mark.stack
async def test_a_machine_behind_a_cut_cable_stops_in_time_and_goes_on_when_it_is_mended(machines: Machines) -> None:
    main, _ = machines
    patience = silence(main)

    def harm(second: Machine) -> None:
        _put_off(main, second)
        second.cut()
        cut = time.time()
        until("its keeper stops Postfix", lambda: second.process("out") == "stopped", patience=patience)
        stopped = time.time()
        until("the first one says so", lambda: here(main, "node", "show", "two")["node"]["silent"])
        assert second.waiting() > 0, "it would have something to send"
        assert second.process("sender") == "running"
        moments = tried(main, "n2")
        assert any(cut + 1 < moment < stopped for moment in moments), "it went on while it might"
        assert max(moments) < stopped + 1
        client.calm(main)
        second.mend()
        until("it goes on", lambda: second.process("out") == "running" and second.able())
        until("it tries again what waited", lambda: max(tried(main, "n2")) > stopped + 1)

    _, _, truth, _ = await _campaign(machines, harm)
    assert (truth.missing, truth.duplicates) == (0, 0)


@pytest.mark.stack
async def test_a_machine_may_do_what_it_needs_and_no_more(machines: Machines) -> None:
    main, second = machines
    forbidden = (
        "SELECT 1 FROM account", "SELECT password_hash FROM mailbox", "SELECT email FROM contact",
        "SELECT password FROM relay", "SELECT token FROM node", "SELECT verifier FROM node",
        "UPDATE node SET state = 'joined'", "DELETE FROM delivery", "UPDATE delivery SET recipient = 'x'",
        "UPDATE campaign SET source = 'x'", "INSERT INTO suppression (address) VALUES ('x')", "DELETE FROM egress",
        "SELECT node_lose('two', true, '0')", "SELECT * FROM node_people('two')", "SET ROLE thurn_system",
        "CREATE TABLE x ()",
    )  # fmt: skip
    for statement in forbidden:
        with (
            psycopg.connect(conninfo(second.settings(), "system"), autocommit=True) as db,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            db.execute(statement.encode())
    with psycopg.connect(conninfo(second.settings(), "system"), autocommit=True) as db:
        assert db.execute("UPDATE node SET able = false WHERE name = 'main'").rowcount == 0, "only its own row"
        row = db.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
        assert row == (True,)
    plain = psycopg.conninfo.make_conninfo(conninfo(second.settings(), "system"), sslmode="disable")
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        psycopg.connect(plain)
    assert second.run("node", "list", check=False).returncode == 1, "an operator's command is for the first machine"
    until("both take mail", lambda: question(main, "SELECT bool_and(able) FROM node") is True)

    def health() -> dict[str, str]:
        roles = json.loads(second.run("status", "--json").stdout)["roles"]
        return {name: role["health"] for name, role in roles.items()}

    until("all is well over there", lambda: health() == dict.fromkeys(OF_NODE, "ok"))


@pytest.mark.stack
async def test_a_machine_lost_for_good_is_a_decision_and_cannot_come_back(machines: Machines) -> None:
    main, second = machines
    said: dict[str, int] = {}

    def harm(second: Machine) -> None:
        _put_off(main, second)
        second.cut()
        with pytest.raises(AssertionError, match="may still be sending"):
            here(main, "node", "lost", "two", "--confirm", "two")
        long = "SELECT seen_at < now() - make_interval(secs => 16) FROM node WHERE name = 'two'"
        until("it is silent", lambda: question(main, long))
        with pytest.raises(AssertionError, match="Type two to confirm"):
            here(main, "node", "lost", "two")
        said.update(here(main, "node", "lost", "two", "--confirm", "two"))
        lost = time.time()
        client.calm(main)
        second.mend()
        until("keeper has taken its right to sign in away", lambda: _is_shut_out(second))
        until("its keeper has stopped Postfix", lambda: second.process("out") == "stopped")
        assert second.waiting() > 0
        assert max(tried(main, "n2")) < lost, "it runs, and sends nothing"
        second.kill()

    campaign, addresses, truth, _ = await _campaign(machines, harm)
    assert truth.duplicates == 0

    def in_doubt() -> tuple[list[dict[str, str]], int, int]:
        table = list(csv.DictReader(io.StringIO(show(main, "two"))))
        return table, Counter(row["now"] for row in table)["unknown"], tallies(main, campaign).get("unknown", 0)

    # Its last words are heard: what it sent while it was cut off. They may still be being written down.
    until("the list and the ledger agree", lambda: in_doubt()[1] == in_doubt()[2])
    table, listed_unknown, unknown = in_doubt()
    listed = {row["recipient"] for row in table}
    assert len(listed) == said["deliveries"] > 0
    missing = set(addresses) - heard(main, campaign)
    assert len(missing) == truth.missing
    assert missing <= listed, "whoever got nothing is on the list"
    assert listed_unknown == unknown > 0

    done = second.run("up", check=False)
    assert done.returncode == 1
    assert "no longer belongs to" in done.stderr
    assert {role.process.state for role in status(second.settings()).values()} == {"stopped"}
    with pytest.raises(AssertionError, match="Choose a name that no machine had"):
        here(main, "node", "add", "two")
    assert {row["now"] for row in table} <= {"unknown", "delivered", "bounced"}
    assert {row["campaign_id"] for row in table} == {str(campaign)}


def _is_shut_out(machine: Machine) -> bool:
    try:
        psycopg.connect(conninfo(machine.settings(), "system")).close()
    except psycopg.OperationalError as error:
        return "not permitted to log in" in str(error)
    return False
