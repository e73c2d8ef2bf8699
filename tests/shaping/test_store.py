"""From log lines to paces and alerts, over a real database."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from thurn.db.connect import Connection, connect
from thurn.db.fetch import one, rows
from thurn.feedback.log_reader import LogReader
from thurn.feedback.postfix_log import parse
from thurn.mail.tokens import VerpTokens
from thurn.secrets import Secrets
from thurn.settings import Settings
from thurn.shaping import store
from thurn.shaping.answers import Heard, add, heard_in
from thurn.shaping.decide import State

NOW = datetime(2026, 11, 24, 12, 0, 3, tzinfo=UTC)
TSS04 = "421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to user complaints - 4.16.55.1"
QUEUE_ID = "4Nl1Wk2bQHz1"


def line(outcome: str, reply: str, *, agent: str = "e1-yahoo/smtp", to: str = "a@yahoo.example") -> bytes:
    said = f"host mx.example[192.0.2.9] said: {reply}" if outcome != "sent" else reply
    dsn = {"sent": "2.0.0", "deferred": "4.7.0", "bounced": "5.7.1"}[outcome]
    return (
        f"Nov 24 12:00:03 mail postfix/{agent}[13]: {QUEUE_ID}: to=<{to}>, relay=mx.example[192.0.2.9]:25, delay=1, "
        f"delays=0/0/0/1, dsn={dsn}, status={outcome} ({said})"
    ).encode()


def hear(raw: bytes) -> Heard | None:
    parsed = parse(raw)
    assert parsed is not None
    return heard_in(parsed, raw, NOW)


def test_a_line_of_a_delivery_agent_tells_who_said_what_to_which_address_of_ours():
    heard = hear(line("deferred", TSS04))
    assert heard is not None
    assert (heard.egress, heard.provider, heard.outcome, heard.category) == (
        "e1", "yahoo", "deferred", "reputation-block",
    )  # fmt: skip
    assert heard.wording.startswith("421 4.7.0 [tss04] messages from n.n.n.n temporarily deferred")
    assert heard.at == NOW.replace(second=0)
    assert heard.domain == ""
    assert hear(line("sent", "250 2.0.0 Ok", agent="e2-google/smtp")) == Heard(
        NOW.replace(second=0), "e2", "google", "", "delivered", "", ""
    )


@pytest.mark.parametrize(
    "agent", ["qmgr", "error", "e1-yahoo/error", "retry", "smtp", "e1-local/smtp", "e9-relay/smtp", "e1-/smtp"]
)
def test_what_postfix_says_itself_and_our_own_server_are_no_evidence(agent: str):
    """Neither its back-off from a dead server nor our own suspension, which speak with a provider's words."""
    assert hear(line("deferred", TSS04, agent=agent)) is None


def test_among_the_many_small_servers_the_domain_is_kept_only_where_the_sender_is_at_fault():
    blocked = hear(line("bounced", "550 5.7.1 Blocked by policy", agent="e1-other/smtp", to="a@Small.Example"))
    unknown = hear(line("bounced", "550 5.1.1 User unknown", agent="e1-other/smtp", to="a@small.example"))
    assert blocked is not None
    assert unknown is not None
    assert (blocked.domain, unknown.domain) == ("small.example", "")


@pytest.mark.parametrize(
    "reply",
    ["", "x" * 5000, "421 4.7.0 \0 [TSS04]", "421 é\udcff", "421 status=sent (250 ok)", "to=<b@c>, status=bounced ("],
)
async def test_whatever_a_stranger_writes_is_counted_and_stored(system: Connection, reply: str):
    raw = line("deferred", "X").replace(b"said: X", b"said: " + reply.encode("utf-8", "surrogateescape"))
    heard = hear(raw)
    assert heard is not None
    await add(system, {heard: 2}, {heard: reply})
    await add(system, {heard: 3}, {heard: reply})
    row = await one(system, "SELECT n, length(wording) AS long, reply FROM provider_answer")
    assert row["n"] == 5
    assert row["long"] <= 600
    assert len(row["reply"]) <= 2000


@pytest.fixture
def log(clean: Settings) -> Iterator[Path]:
    path = clean.state / "log" / "out.mail.log"
    path.parent.mkdir(exist_ok=True)
    yield path
    path.unlink()


async def test_the_log_reader_counts_each_answer_once_however_often_it_starts(clean: Settings, log: Path):
    local = VerpTokens(Secrets(clean.state).derive("verp")).local_part("e1", "yahoo", 1, 1)
    own = f"Nov 24 12:00:01 mail postfix/qmgr[12]: {QUEUE_ID}: from=<{local}@b.example>, size=7, nrcpt=1 (queue)"
    stranger = line("deferred", TSS04).replace(QUEUE_ID.encode(), b"4Nl1Wk2bQHzz")
    log.write_bytes(b"\n".join([own.encode(), line("deferred", TSS04), stranger, b""]))
    for _ in range(2):
        reader = LogReader(clean)
        async with await connect(clean, "system") as db:
            await reader._load(db)
            for _ in range(3):
                await reader.step(db)
    async with await connect(clean, "system") as db:
        found = await rows(db, "SELECT egress, provider, category, n, reply FROM provider_answer")
    assert [(r["egress"], r["provider"], r["n"]) for r in found] == [("e1", "yahoo", 1)]
    assert found[0]["reply"] == TSS04


async def answered(
    db: Connection,
    outcome: str,
    n: int,
    *,
    wording: str = "",
    category: str = "",
    ago: float = 5,
    provider: str = "yahoo",
) -> None:
    """`n` answers of `provider` to e1, some seconds ago."""
    heard = Heard(datetime.now(UTC) - timedelta(seconds=ago), "e1", provider, "", outcome, category, wording)
    await add(db, {heard: n}, {heard: wording.upper()})


async def test_a_block_stops_one_provider_says_why_and_goes_on_by_itself(system: Connection):
    await answered(system, "delivered", 50)
    await answered(system, "deferred", 3, wording="421 4.7.0 [tss04] temporarily deferred", category="reputation-block")
    await answered(system, "delivered", 50, provider="google")
    assert await store.step(system) == 1
    assert await store.step(system) == 0, "the same evidence decides nothing twice"
    (pace,) = await rows(system, "SELECT * FROM pace")
    assert (pace["provider"], pace["state"], pace["rule"]) == ("yahoo", "suspended", "yahoo-complaints")
    assert pace["suspended_until"] == pace["until"]
    assert timedelta(minutes=119) < pace["until"] - datetime.now(UTC) < timedelta(minutes=121)
    alert = await one(system, "SELECT workspace_id, subject, text, link FROM alert")
    assert alert["subject"] == "Nothing goes to Yahoo and AOL from e1 for now"
    for words in ("Yahoo defers everything", "What to do: ", "https://senders.yahooinc.com", "[TSS04]", "tries again"):
        assert words in alert["text"]
    assert (await one(system, "SELECT count(*) AS n FROM procrastinate_jobs WHERE task_name = 'thurn:mail_owners'"))[
        "n"
    ]
    deed = await one(system, "SELECT rule, action, n, of FROM shaping_deed")
    assert (deed["rule"], deed["action"], deed["n"], deed["of"]) == ("yahoo-complaints", "suspend", 3, 53)
    await _time_passes(system, hours=2)
    await store.step(system)
    (pace,) = await rows(system, "SELECT * FROM pace")
    assert (pace["state"], pace["factor"], pace["suspended_until"]) == ("slowed", 0.25, None)
    assert (await one(system, "SELECT count(*) AS n FROM alert WHERE cleared_at IS NULL"))["n"] == 0


async def _time_passes(db: Connection, **delta: float) -> None:
    """Everything that is remembered happened so much earlier."""
    ago = timedelta(**delta)
    for row in await rows(db, "SELECT egress_id, provider, state FROM shaping_state"):
        state = {
            key: (datetime.fromisoformat(value) - ago).isoformat() if key in store.MOMENTS else value
            for key, value in row["state"].items()
        }
        await store.save(db, {(row["egress_id"], row["provider"]): store.of_json(state)})
    await db.execute("UPDATE shaping_deed SET at = at - %s", [ago])
    await db.execute("UPDATE provider_answer SET at = at - %s", [ago])


async def test_what_concerns_the_domain_stops_every_address_and_deferrals_only_the_one(system: Connection):
    await system.execute("INSERT INTO egress (name) VALUES ('e2')")
    wording = "421-4.7.28 gmail has detected an unusual rate of unsolicited mail originating from your dkim domain"
    await answered(system, "deferred", 5, wording=wording, category="rate-limited", provider="google")
    await answered(system, "deferred", 30, wording="451 slow", category="rate-limited", provider="gmx")
    await store.step(system)
    found = {(r["egress_id"], r["provider"]): r["state"] for r in await rows(system, "SELECT * FROM pace")}
    assert found == {(1, "google"): "suspended", (2, "google"): "suspended", (1, "gmx"): "slowed"}


async def test_a_quiet_installation_is_not_looked_at_and_two_workers_decide_once(system: Connection, clean: Settings):
    await answered(system, "delivered", 100)
    assert await store.step(system) == 0
    await answered(system, "deferred", 90, wording="421 slow down", category="rate-limited")
    async with await connect(clean, "system", autocommit=True) as other, other.transaction():
        await store.in_lock(other)
        assert await store.step(system) == 0
    assert await store.step(system) >= 1
    await system.execute("SET enable_seqscan = off")  # the table is small here
    plan = await rows(
        system,
        "EXPLAIN SELECT FROM provider_answer WHERE at > now() - interval '90 seconds' AND outcome <> 'delivered'",
    )
    assert any("Index" in row["QUERY PLAN"] or "Bitmap" in row["QUERY PLAN"] for row in plan)


async def test_old_answers_are_forgotten(system: Connection):
    await answered(system, "delivered", 1, ago=26 * 3600)
    await answered(system, "delivered", 1, ago=23 * 3600)
    await store.tidy(system)
    assert (await one(system, "SELECT count(*) AS n FROM provider_answer"))["n"] == 1


def test_a_state_survives_being_stored():
    state = State(factor=0.25, mode="suspended", until=NOW, since=NOW, changed_at=NOW, rule="x", strikes=2)
    assert store.of_json(store.to_json(state)) == state


async def test_a_reply_that_says_never_again_gives_the_mail_up_and_no_other(clean: Settings, log: Path):
    local = VerpTokens(Secrets(clean.state).derive("verp")).local_part("e1", "yahoo", 1, 1)
    other = "4Nl1Wk2bQHz2"
    never = "421 4.7.1 [TS03] All messages from 192.0.2.1 will be permanently deferred; Retrying will NOT succeed."
    own = f"Nov 24 12:00:01 mail postfix/qmgr[12]: {QUEUE_ID}: from=<{local}@b.example>, size=7, nrcpt=1 (queue)"
    log.write_bytes(
        b"\n".join(
            [
                own.encode(),
                own.replace(QUEUE_ID, other).encode(),
                line("deferred", never),
                line("deferred", TSS04).replace(QUEUE_ID.encode(), other.encode()),
                line("deferred", never, agent="error").replace(QUEUE_ID.encode(), other.encode()),
                b"",
            ]
        )
    )
    reader = LogReader(clean)
    async with await connect(clean, "system") as db:
        await reader._load(db)
        while await reader.step(db):
            pass
        found = await rows(db, "SELECT queue_id, campaign_id, delivery_id, rule FROM give_up")
    assert found == [{"queue_id": QUEUE_ID, "campaign_id": 1, "delivery_id": 1, "rule": "never-on-retry"}]
