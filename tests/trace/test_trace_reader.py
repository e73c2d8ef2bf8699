"""The mail log as rows, against a real database: walls between tenants, kills, old mails, and searches on an index."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from thurn.db.connect import Connection, Pool, connect, in_workspace
from thurn.settings import Settings
from thurn.trace import search
from thurn.trace.jobs import forget
from thurn.trace.reader import TraceReader
from thurn.trace.search import Place, Wanted

STAMP = datetime.now().strftime("%b %e %H:%M:%S")  # noqa: DTZ005 - as Postfix writes it
OUT = "delay=1, delays=0/0/0/1"


@pytest.fixture
def log(clean: Settings) -> Iterator[Path]:
    path = clean.state / "log" / "mx.mail.log"
    path.parent.mkdir(exist_ok=True)
    yield path
    for each in path.parent.glob("mx.mail.log*"):
        each.unlink()


@pytest.fixture
async def tenants(system: Connection, other_workspace: int) -> int:
    """`ours.example` is of workspace 1, `theirs.example` of another (returned), `claimed.example` proven by nobody."""
    for workspace, name, proven in (
        (1, "ours.example", True), (other_workspace, "theirs.example", True),
        (other_workspace, "claimed.example", False),
    ):  # fmt: skip
        await system.execute(
            """INSERT INTO domain (workspace_id, name, bounce_host, proven_at)
               VALUES (%s, %s, %s, CASE WHEN %s THEN now() END)""",
            [workspace, name, f"bounce.{name}", proven],
        )
    return other_workspace


@pytest.fixture
async def other_workspace(system: Connection) -> int:
    row = await (
        await system.execute("INSERT INTO workspace (slug, name) VALUES ('other', 'Other') RETURNING id")
    ).fetchone()
    assert row is not None
    return int(row["id"])


def lines(*said: tuple[str, str]) -> bytes:
    return b"".join(f"{STAMP} mail postfix/{process}[7]: {text}\n".encode() for process, text in said)


def mail(q: str, sender: str, *to: str, login: str = "", mid: str = "") -> bytes:
    door = f", sasl_method=PLAIN, sasl_username={login}" if login else ""
    return lines(
        ("submission/smtpd" if login else "smtpd", f"{q}: client=pc.example[192.0.2.7]{door}"),
        ("cleanup", f"{q}: message-id=<{mid or q}@x.example>"),
        ("qmgr", f"{q}: from=<{sender}>, size=700, nrcpt={len(to)} (queue active)"),
        *(("smtp", f"{q}: to=<{each}>, relay=x[192.0.2.1]:25, {OUT}, dsn=2.0.0, status=sent (250 ok)") for each in to),
        ("qmgr", f"{q}: removed"),
    )


async def read(settings: Settings, reader: TraceReader | None = None) -> TraceReader:
    reader = reader or TraceReader(settings)
    async with await connect(settings, "system") as db:
        await reader.load(db)
        for _ in range(4):
            await reader.step(db)
    return reader


async def found(pool: Pool, workspace: int, query: str = "", **how: object) -> list[tuple[str, str, str]]:
    async with in_workspace(pool, workspace) as db:
        rows = await search.find(db, Wanted(query, **how))  # type: ignore[arg-type]
        return sorted((row["sender"], row["recipient"], row["state"]) for row in rows)


async def test_each_workspace_sees_what_concerns_it_and_nothing_else(
    clean: Settings, log: Path, app_pool: Pool, tenants: int
) -> None:
    log.write_bytes(
        mail("4Nl1Wk2bQHz1", "a@ours.example", "b@far.example", "c@theirs.example", login="a@ours.example")
        + mail("4Nl1Wk2bQHz2", "b@far.example", "a@ours.example", "x@claimed.example")
        + mail("4Nl1Wk2bQHz3", "forged@ours.example", "c@theirs.example")
        + mail("4Nl1Wk2bQHz4", "b@far.example", "d@farther.example")
    )
    await read(clean)
    assert await found(app_pool, 1) == [
        ("a@ours.example", "b@far.example", "delivered"),
        ("a@ours.example", "c@theirs.example", "delivered"),
        ("b@far.example", "a@ours.example", "delivered"),
    ]
    assert await found(app_pool, tenants) == [
        ("a@ours.example", "c@theirs.example", "delivered"),
        ("forged@ours.example", "c@theirs.example", "delivered"),
    ]
    async with in_workspace(app_pool, tenants) as db:
        (row,) = await search.find(db, Wanted("4Nl1Wk2bQHz1"))
        seen = await search.message(db, row["trace_id"])
        assert (seen["login"], seen["client_ip"]) == ("", "")  # where our people sit is no business of theirs
        assert [r["recipient"] for r in seen["recipients"]] == ["c@theirs.example"]
    async with in_workspace(app_pool, 1) as db:
        with pytest.raises(search.NotFound):
            await search.message(db, row["trace_id"])


@pytest.mark.parametrize(
    ("query", "hits"),
    [
        ("A@ours.example", 1), ("@ours.example", 2), ("4Nl1Wk2bQHz1", 1), ("one@x.example", 1),
        ("<one@x.example>", 1),
        ("acb@ours.example", 0), ("a_b@ours.example", 1), ("%@ours.example", 0), ("ours.example", 0),
        ("' OR 1=1 --", 0),
        ("x@far.example", 2),
    ],
)  # fmt: skip
async def test_it_is_searched_by_what_people_know(
    clean: Settings, log: Path, app_pool: Pool, tenants: int, query: str, hits: int
) -> None:
    log.write_bytes(
        mail("4Nl1Wk2bQHz1", "x@far.example", "a@ours.example", mid="one")
        + mail("4Nl1Wk2bQHz2", "x@far.example", "a_b@ours.example", mid="Two")
    )
    await read(clean)
    assert len(await found(app_pool, 1, query)) == hits


async def test_what_is_refused_after_the_data_is_refused_for_everybody_also_by_a_reader_that_is_killed(
    clean: Settings, log: Path, app_pool: Pool, tenants: int
) -> None:
    q, who = "4Nl1Wk2bQHz1", "from=<s@far.example>"
    door = "pc.example[192.0.2.7]"

    def taken(name: str, to: str) -> bytes:
        return lines(("smtpd", f"{name}: info: RCPT from {door}: taken; {who} to=<{to}> proto=SMTP helo=<pc>"))

    for line in (
        taken("NOQUEUE", "gone@ours.example"),  # a mail that went no further, by the same process
        taken("NOQUEUE", "a@ours.example"),
        lines(("smtpd", f"{q}: client={door}")),
        taken(q, "c@theirs.example"),
        taken(q, "b@ours.example"),
        taken(q, "b@ours.example"),
        lines(("smtpd", f"{q}: reject: END-OF-MESSAGE from {door}: 554 5.7.1 no; {who} proto=SMTP helo=<pc>")),
        taken("NOQUEUE", "later@ours.example"),
        mail("4Nl1Wk2bQHz2", "s@far.example", "later@ours.example"),
    ):
        with log.open("ab") as file:
            file.write(line)
        await read(clean)  # a fresh life each time
    assert await found(app_pool, 1) == [
        ("s@far.example", "a@ours.example", "refused"),
        ("s@far.example", "b@ours.example", "refused"),
        ("s@far.example", "later@ours.example", "delivered"),
    ]
    assert await found(app_pool, tenants) == [("s@far.example", "c@theirs.example", "refused")]
    async with await connect(clean, "system") as db:
        open_ones = await (await db.execute("SELECT queue_id FROM trace_open")).fetchall()
    assert [row["queue_id"] for row in open_ones] == [q], "until it is old: its client may go on"


async def test_a_reader_that_is_killed_between_any_two_lines_counts_each_once(
    clean: Settings, log: Path, app_pool: Pool, tenants: int
) -> None:
    q = "4Nl1Wk2bQHz1"
    put_off = f"{q}: to=<b@far.example>, relay=none, {OUT}, dsn=4.4.1, status=deferred (connect: timed out)"
    whole = mail(q, "a@ours.example", "b@far.example", login="a@ours.example").splitlines(keepends=True)
    whole[3:3] = lines(("smtp", put_off), ("smtp", put_off)).splitlines(keepends=True)
    for line in whole:
        with log.open("ab") as file:
            file.write(line)
        await read(clean)  # a fresh life each time
    async with in_workspace(app_pool, 1) as db:
        (row,) = await search.find(db, Wanted("b@far.example"))
        seen = await search.message(db, row["trace_id"])
    assert (row["attempts"], row["state"], row["ours"], seen["login"]) == (3, "delivered", True, "a@ours.example")
    assert [step["what"] for step in seen["recipients"][0]["steps"]] == ["deferred", "deferred", "delivered"]
    async with await connect(clean, "system") as db:
        left = await (await db.execute("SELECT count(*) AS n FROM trace_open")).fetchone()
        assert left == {"n": 0}


async def test_refusals_expiry_and_notices_are_part_of_it(
    clean: Settings, log: Path, app_pool: Pool, tenants: int
) -> None:
    q = "4Nl1Wk2bQHz1"
    log.write_bytes(
        lines(
            ("smtpd", ("NOQUEUE: reject: RCPT from x.example[192.0.2.9]: 554 5.7.1 <a@ours.example>: no; "
                      "from=<z@far.example> to=<a@ours.example> proto=ESMTP helo=<\u00e4'?>")),
            ("smtpd", ("NOQUEUE: reject: RCPT from x.example[192.0.2.9]: 554 5.7.1 <q@far.example>: Relay denied;"
                      " from=<z@far.example> to=<q@far.example> proto=ESMTP helo=<pc>")),
            ("submission/smtpd", f"{q}: client=pc.example[192.0.2.7], sasl_method=PLAIN, sasl_username=a@ours.example"),
            ("submission/smtpd", (f"{q}: reject: RCPT from pc.example[192.0.2.7]: 450 4.1.1 <y@ours.example>: later; "
                                 "from=<a@ours.example> to=<y@ours.example> proto=ESMTP helo=<pc>")),
            ("cleanup", f"{q}: message-id=<late@x.example>"),
            ("qmgr", f"{q}: from=<a@ours.example>, size=7, nrcpt=1 (queue active)"),
            ("smtp", f"{q}: to=<b@far.example>, relay=none, {OUT}, dsn=4.4.1, status=deferred (timed out)"),
            ("qmgr", f"{q}: from=<a@ours.example>, status=expired, returned to sender"),
            ("bounce", f"{q}: sender non-delivery notification: 4Nl1Wk2bQHz9"),
            ("qmgr", f"{q}: removed"),
        )
    )  # fmt: skip
    await read(clean)
    assert await found(app_pool, 1) == [
        ("a@ours.example", "b@far.example", "bounced"),
        ("a@ours.example", "y@ours.example", "postponed"),
        ("z@far.example", "a@ours.example", "refused"),
    ]
    assert len(await found(app_pool, 1, "<late@x.example>")) == 2  # also the one that was refused before it had a name
    assert len(await found(app_pool, 1, state="refused")) == 1
    async with in_workspace(app_pool, 1) as db:
        row = (await search.find(db, Wanted("b@far.example")))[0]
        seen = await search.message(db, row["trace_id"])
    assert [step["what"] for step in seen["steps"]] == ["expired", "told"]


async def test_what_leaves_the_house_by_an_alias_is_seen_by_whose_alias_it_is(
    clean: Settings, log: Path, app_pool: Pool, tenants: int
) -> None:
    one, two, fake = "4Nl1Wk2bQHz1", "4Nl1Wk2bQHz2", "4Nl1Wk2bQHz3"
    door = f"127.0.0.1[127.0.0.1]:{clean.port['forward']}"
    log.write_bytes(
        lines(
            ("smtpd", f"{one}: client=x.example[192.0.2.9]"),
            ("qmgr", f"{one}: from=<z@far.example>, size=7, nrcpt=1 (queue active)"),
            ("forward/smtpd", f"{two}: client=localhost[127.0.0.1]"),
            ("qmgr", f"{two}: from=<SRS0=x=y=far.example=z@mail.example>, size=7, nrcpt=1 (queue active)"),
            ("smtp", (f"{one}: to=<f=out.example@forward.invalid>, orig_to=<a@ours.example>, relay={door}, {OUT}, "
                     f"dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as {two})")),
            ("smtp", (f"{two}: to=<f@out.example>, orig_to=<f=out.example@forward.invalid>, relay=out[192.0.2.1]:25, "
                      f"{OUT}, dsn=2.0.0, status=sent (250 ok)")),
            # Another server may say what it likes: it makes nobody the owner of somebody's mail.
            ("smtp", (f"{one}: to=<q@far.example>, orig_to=<b@ours.example>, relay=far[192.0.2.1]:25, {OUT}, "
                     f"dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as {fake})")),
            ("smtp", f"{fake}: to=<secret@out.example>, relay=o[192.0.2.1]:25, {OUT}, dsn=2.0.0, status=sent (250 ok)"),
        )
    )  # fmt: skip
    await read(clean)
    (row,) = await found(app_pool, 1, "f@out.example")
    assert row[1] == "f@out.example"
    assert len(await found(app_pool, 1, "a@ours.example")) == 1
    async with in_workspace(app_pool, 1) as db:
        seen = await search.message(db, (await search.find(db, Wanted("a@ours.example")))[0]["trace_id"])
    assert [(r["recipient"], r["original"], r["state"]) for r in seen["recipients"]] == [
        ("f@out.example", "a@ours.example", "delivered"), ("q@far.example", "b@ours.example", "delivered"),
    ]  # fmt: skip
    assert seen["sender"] == "z@far.example"  # not the return address it left with
    assert [step["relay"] for step in seen["recipients"][0]["steps"]] == ["out[192.0.2.1]:25"]
    assert await found(app_pool, 1, "@forward.invalid") == []
    assert await found(app_pool, 1, "secret@out.example") == []
    assert await found(app_pool, tenants) == []


async def test_what_a_filter_sends_on_or_answers_is_seen_by_whose_mailbox_it_is(
    clean: Settings, log: Path, app_pool: Pool, tenants: int
) -> None:
    here, on, answer = "4Nl1Wk2bQHz1", "4Nl1Wk2bQHz2", "4Nl1Wk2bQHz3"
    noted = "from localhost[127.0.0.1]; from=<{}> to=<f@out.example> proto=ESMTP helo=<mail.example>"
    on_by, theirs = "info: header X-Sieve-Redirected-From:", f"c@theirs.example {noted.format('z@f.example')}: sent on"
    log.write_bytes(
        lines(
            ("smtpd", f"{here}: client=x.example[192.0.2.9]"),
            ("cleanup", f"{here}: message-id=<1@far.example>"),
            # Whoever is not Dovecot may write such a header: at another door nobody notes it, and it would say nothing.
            ("cleanup", f"{here}: {on_by} {theirs}"),
            ("qmgr", f"{here}: from=<z@far.example>, size=7, nrcpt=1 (queue active)"),
            ("filters/smtpd", f"{on}: client=localhost[127.0.0.1]"),
            ("cleanup", f"{on}: {on_by} a@ours.example {noted.format('z@far.example')}: sent on"),
            ("cleanup", f"{on}: {on_by} {theirs}"),
            ("cleanup", f"{on}: message-id=<1@far.example>"),
            ("qmgr", f"{on}: from=<SRS0=x=y=far.example=z@mail.example>, size=7, nrcpt=1 (queue active)"),
            ("smtp", f"{on}: to=<f@out.example>, relay=out[192.0.2.1]:25, {OUT}, dsn=2.0.0, status=sent (250 ok)"),
            ("filters/smtpd", f"{answer}: client=localhost[127.0.0.1]"),
            ("cleanup", (f"{answer}: info: header Auto-Submitted: auto-replied; from=<c@theirs.example> to=<q@q> "
                         f"proto=ESMTP helo=<x>: answered {noted.format('a@ours.example')}: answered")),
            ("qmgr", f"{answer}: from=<>, size=7, nrcpt=1 (queue active)"),
            ("smtp", f"{answer}: to=<z@far.example>, relay=o[192.0.2.1]:25, {OUT}, dsn=2.0.0, status=sent (250 ok)"),
            ("lmtp", f"{here}: to=<a@ours.example>, relay=dovecot, {OUT}, dsn=2.0.0, status=sent (250 Saved)"),
        )
    )  # fmt: skip
    await read(clean)
    assert sorted(row[1] for row in await found(app_pool, 1)) == ["a@ours.example", "f@out.example", "z@far.example"]
    assert await found(app_pool, tenants) == []
    async with in_workspace(app_pool, 1) as db:
        seen = await search.message(db, (await search.find(db, Wanted("f@out.example")))[0]["trace_id"])
        assert seen["client_name"] == "the filters of a@ours.example"
        assert [each["recipient"] for each in seen["elsewhere"]] == ["a@ours.example"]
        seen = await search.message(db, (await search.find(db, Wanted("a@ours.example")))[0]["trace_id"])
        assert [(each["recipient"], each["state"]) for each in seen["elsewhere"]] == [("f@out.example", "delivered")]


async def test_pages_follow_one_another_without_gap_or_repeat(
    clean: Settings, log: Path, app_pool: Pool, tenants: int
) -> None:
    log.write_bytes(b"".join(mail(f"4Nl1Wk2bQHz{n}", "x@far.example", "a@ours.example") for n in "123456789"))
    await read(clean)
    for query in ("", "a@ours.example"):
        seen: list[str] = []
        after = None
        while True:
            async with in_workspace(app_pool, 1) as db:
                page = await search.find(db, Wanted(query), after=after, limit=2)
            if not page:
                break
            seen += [row["queue_id"] for row in page]
            after = Place.of(search.place_of(page))
        assert sorted(seen) == sorted({f"4Nl1Wk2bQHz{n}" for n in "123456789"})


async def test_rows_of_a_workspace_that_is_gone_stop_nobody(
    clean: Settings, log: Path, system: Connection, tenants: int
) -> None:
    whole = mail("4Nl1Wk2bQHz1", "b@far.example", "c@theirs.example", "d@theirs.example").splitlines(keepends=True)
    log.write_bytes(b"".join(whole[:4]))
    reader = await read(clean)
    await system.execute("DELETE FROM workspace WHERE id = %s", [tenants])
    with log.open("ab") as file:
        file.write(b"".join(whole[4:]))
    await read(clean, reader)
    row = await (await system.execute("SELECT position FROM trace_position")).fetchone()
    assert row == {"position": log.stat().st_size}


async def test_old_mails_are_forgotten_with_all_that_belongs_to_them(
    clean: Settings, log: Path, system: Connection, tenants: int
) -> None:
    log.write_bytes(mail("4Nl1Wk2bQHz1", "x@far.example", "a@ours.example"))
    await read(clean)
    assert await forget(system, days=30) == 0
    await system.execute("UPDATE trace_message SET at = now() - interval '31 days'")
    assert await forget(system, days=30) == 1
    for table in ("trace_message", "trace_recipient", "trace_key", "trace_step"):
        row = await (await system.execute(f"SELECT count(*) AS n FROM {table}")).fetchone()  # type: ignore[arg-type]  # noqa: S608
        assert row == {"n": 0}, table


FILL = """
INSERT INTO trace_message (id, workspace_id, node, queue_id, at, ours, sender)
  SELECT n, 1, 'main', 'Q' || n, now() - n * interval '1 second', false, 'x@far.example'
  FROM generate_series(1, 20000) n;
INSERT INTO trace_recipient (id, workspace_id, trace_id, at, recipient, state, changed_at)
  SELECT id, 1, id, at, 'p' || id % 500 || '@ours.example',
    CASE WHEN id % 100 = 0 THEN 'bounced' ELSE 'delivered' END, at
  FROM trace_message;
INSERT INTO trace_key (workspace_id, key, at, recipient_id)
  SELECT 1, k, at, id FROM trace_recipient CROSS JOIN LATERAL unnest(ARRAY[recipient, '@ours.example', 'Q' || id]) k
"""


def nodes(plan: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield plan["Node Type"], str(plan.get("Relation Name", "")).partition("_")[0]
    for below in plan.get("Plans", []):
        yield from nodes(below)


async def test_searches_walk_an_index_and_touch_a_page_of_rows(
    system: Connection, app_pool: Pool, analyze: Callable[[str], None]
) -> None:
    for statement in FILL.split(";"):
        await system.execute(statement)  # type: ignore[arg-type]
    analyze("trace_message, trace_recipient, trace_key")  # not when autovacuum happens to come by
    values = {"since": None, "until": None, "limit": 26, "before": datetime.now(UTC), "number": 10**9}
    for query, more in (
        (search._BY_KEY, {"keys": ["p7@ours.example"], "state": ""}),
        (search._BY_KEY, {"keys": ["@ours.example"], "state": ""}),
        (search._BY_KEY, {"keys": ["Q77"], "state": ""}),
        (search._NEWEST, {"state": ""}),
        (search._NEWEST_OF, {"state": "bounced"}),
    ):
        async with in_workspace(app_pool, 1) as db:
            rows = await (
                await db.execute("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + query, values | more)
            ).fetchall()  # type: ignore[operator,arg-type]
        (plan,) = rows[0]["QUERY PLAN"]
        assert not [node for node in nodes(plan["Plan"]) if node == ("Seq Scan", "trace")], more
        touched = plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]
        assert touched < 600, (more, touched)
