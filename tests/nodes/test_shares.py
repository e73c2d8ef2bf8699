"""Which machine sends what: by rank, by weight, by what each can do, and by which the relays send."""

from tests.nodes.conftest import number
from thurn.db.connect import Connection
from thurn.delivery.board import Board
from thurn.delivery.claims import Lane
from thurn.mailhost.service import add_domain
from thurn.relays import service as relays
from thurn.settings import Settings

HEARD = "UPDATE node SET able = true, seen_at = now() + interval '1 hour'"  # however long the test takes


async def test_an_egress_of_a_machine_that_lives_counts_and_one_of_a_silent_machine_does_not(
    clean: Settings, system: Connection, joined: Settings
) -> None:
    await system.execute(HEARD)
    await system.execute("UPDATE pool_egress SET rank = 1 WHERE egress_id = (SELECT id FROM egress WHERE name = 'n2')")
    two = await number(system, "n2")
    lane = Lane(1, 7, "google", speed=60.0)

    async def boards() -> tuple[Board, Board]:
        here, there = Board(), Board()
        await here.read(system, "main", frozenset({"e1"}))
        await there.read(system, "two", frozenset({"n2"}))
        return here, there

    here, there = await boards()
    assert (here.pool(lane), there.pool(lane)) == ((), ((two, 100),)), "the lower rank is over there"
    assert (here.parts([lane]), there.parts([lane])) == ({7: 0}, {7: 60})
    for harm, mend in (
        ("UPDATE node SET able = false WHERE name = 'two'", HEARD),
        ("UPDATE node SET seen_at = now() - interval '1 minute' WHERE name = 'two'", HEARD),
        ("UPDATE egress SET enabled = false WHERE name = 'n2'", "UPDATE egress SET enabled = true"),
    ):
        await system.execute(harm)  # type: ignore[arg-type]
        here, _ = await boards()
        assert here.pool(lane) == ((1, 100),), harm
        await system.execute(mend)  # type: ignore[arg-type]
    await system.execute("UPDATE pool_egress SET rank = 2")
    here, there = await boards()
    assert here.pool(lane) == ((1, 100),)
    assert there.pool(lane) == ((two, 100),)
    assert here.parts([lane]) == there.parts([lane]) == {7: 30}, "the campaign's speed is divided"
    await system.execute("UPDATE pool_egress SET weight = 25 WHERE egress_id = %s", [two])
    here, there = await boards()
    assert (here.parts([lane]), there.parts([lane])) == ({7: 48}, {7: 12}), "by weight"
    assert here.parts([Lane(1, 8, "google")]) == {}, "without a limit nothing is divided"


async def test_a_machine_that_can_do_less_than_its_part_leaves_the_rest_to_the_others(
    clean: Settings, system: Connection, joined: Settings
) -> None:
    two = await number(system, "n2")
    await system.execute(HEARD)
    await system.execute(
        "INSERT INTO provider_limit (egress_id, provider, rate_per_minute) VALUES (%s, 'google', 10)", [two]
    )
    google, other = Lane(1, 7, "google", speed=600.0), Lane(1, 7, "other", speed=600.0)

    async def parts(*waiting: Lane) -> list[dict[int, float]]:
        here, there = Board(), Board()
        await here.read(system, "main", frozenset({"e1"}))
        await there.read(system, "two", frozenset({"n2"}))
        return [here.parts(waiting), there.parts(waiting)]

    assert await parts(google) == [{7: 590}, {7: 10}]
    assert await parts(google, other) == [{7: 300}, {7: 300}], "elsewhere it can do more"
    # Its keeper says nothing, but its sender runs: it takes nothing, for the other one takes all.
    await system.execute("UPDATE node SET seen_at = now() - interval '1 minute' WHERE name = 'two'")
    assert await parts(google) == [{7: 600}, {7: 0}]
    # Nobody else can send: it goes on by itself, silent or not.
    await system.execute("UPDATE egress SET enabled = false WHERE name = 'e1'")
    assert await parts(google) == [{7: 0}, {7: 600}]


async def test_a_relay_is_used_as_the_guide_says_whatever_machine_asks(
    clean: Settings, system: Connection, joined: Settings
) -> None:
    two = await number(system, "n2")
    relay = await relays.add(system, relays.Relay("smtp.relay.example"), settings=clean)
    domain = await add_domain(system, 1, name="brotzeit.example", settings=clean)

    async def pools(domain: int | None = None) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """By which egresses the first machine and the other one send."""
        lane = Lane(1, 7, "google", domain=domain)
        await here.read(system, "main", frozenset({"e1", "r1"}))
        await there.read(system, "two", frozenset({"n2"}))
        first, second = ([egress for egress, _ in board.pool(lane)] for board in (here, there))
        return tuple(first), tuple(second)

    here, there = Board(), Board()
    broken = "UPDATE relay SET broken_until = now() + interval '1 hour'"
    gone = "UPDATE node SET seen_at = now() - interval '1 minute' WHERE name = 'main'"
    for use, well, without_relay, without_main in (
        ("first", ((relay,), ()), ((1,), (two,)), (two,)),
        ("fallback", ((1,), (two,)), ((1,), (two,)), (two,)),
        ("domain", ((relay,), ()), ((), ()), ()),
    ):
        await relays.put_to_use(system, relay, use=use, domain="brotzeit.example")  # type: ignore[arg-type]
        await system.execute(HEARD)
        await system.execute("UPDATE relay SET broken_until = NULL")
        of = domain if use == "domain" else None
        assert await pools(of) == well, use
        await system.execute(gone)
        assert (await pools(of))[1] == without_main, use
        await system.execute(HEARD)
        await system.execute(broken)
        assert await pools(of) == without_relay, use
    # What Postfix holds for it goes on by an address of its own machine, never by another machine's.
    await relays.put_to_use(system, relay, use="first")
    await pools()
    assert here.instead == {"r1": "e1"}
    await system.execute("DELETE FROM pool_egress WHERE egress_id = 1")
    assert await pools() == ((), (two,))
    assert here.instead == {}
    assert ("r1", "google") in here.suspended
    # Nobody's own address can send: the relay is asked, on its machine.
    await system.execute("UPDATE relay SET broken_until = NULL")
    await relays.put_to_use(system, relay, use="fallback")
    await system.execute("UPDATE egress SET enabled = false WHERE kind = 'address'")
    assert await pools() == ((relay,), ())
