"""The tracking addresses as a reader, a mail program and an attacker meet them: through bare ASGI."""

import errno
import os
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import psycopg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as config
from hypothesis import strategies as st

from tests.tracking.conftest import Sent
from thurn.db.connect import Connection, Pool
from thurn.settings import Settings
from thurn.tracking import spool
from thurn.tracking.links import location
from thurn.tracking.routes import PIXEL, Tracking, answer
from thurn.tracking.spool import Hit, directory, parse


class Reader:
    """Sends requests to the bare ASGI function."""

    def __init__(self, settings: Settings, pool: Any) -> None:
        self.state = SimpleNamespace(settings=settings, pool=pool, tracking=Tracking(settings))
        self._settings = settings

    async def fetch(
        self, method: str, path: str, body: bytes = b"", headers: list[tuple[bytes, bytes]] | None = None
    ) -> tuple[int, dict[bytes, bytes], bytes]:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        agent = [(b"user-agent", b"Firefox")] if headers is None else headers
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": agent,
            "app": SimpleNamespace(state=self.state),
        }
        await answer(scope, receive, send)
        return sent[0]["status"], dict(sent[0]["headers"]), b"".join(part["body"] for part in sent[1:])

    def spooled(self, kind: str = "hits") -> list[Hit]:
        lines = b"".join(path.read_bytes() for path in sorted(directory(self._settings.state).glob(f"{kind}-*.log")))
        hits = [parse(line) for line in lines.splitlines()]
        assert None not in hits
        return [hit for hit in hits if hit]


@pytest.fixture
def reader(clean: Settings, app_pool: Pool) -> Reader:
    return Reader(clean, app_pool)


async def test_an_open_is_answered_with_a_pixel_nobody_may_keep_and_is_in_the_spool(reader: Reader, sent: Sent) -> None:
    status, headers, body = await reader.fetch("GET", f"/o/{sent.token('o')}")
    assert (status, body, headers[b"content-type"]) == (200, PIXEL, b"image/gif")
    assert b"no-store" in headers[b"cache-control"]
    [hit] = reader.spooled()
    assert (hit.purpose, hit.campaign, hit.delivery, hit.agent) == ("o", sent.campaign, sent.deliveries[0], "Firefox")


async def test_a_click_leads_to_the_stored_target(reader: Reader, sent: Sent) -> None:
    for number, target in [(1, "https://huber.example/"), (2, "https://huber.example/brot?a=1&b=ä")]:
        status, headers, _ = await reader.fetch("GET", f"/c/{sent.token('c', 0, number)}")
        assert (status, unquote(headers[b"location"].decode())) == (302, target)
    assert [hit.link for hit in reader.spooled()] == [1, 2]


async def test_a_stored_target_cannot_add_a_header(reader: Reader, sent: Sent) -> None:
    _, headers, _ = await reader.fetch("GET", f"/c/{sent.token('c', 0, 3)}")
    assert headers[b"location"] == b"https://huber.example/x%0D%0AX-Evil:%201"


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "data:text/html,x", "/local", "//other.example", "file:///etc/passwd"]
)
def test_only_web_and_mail_addresses_are_targets(url: str) -> None:
    assert location(url) is None


async def test_head_is_answered_without_a_body_and_changes_nothing_for_people(reader: Reader, sent: Sent) -> None:
    assert (await reader.fetch("HEAD", f"/o/{sent.token('o')}"))[2] == b""
    assert (await reader.fetch("HEAD", f"/c/{sent.token('c', 0, 1)}"))[0] == 302
    assert (await reader.fetch("HEAD", f"/u/{sent.token('u')}"))[0] == 200
    assert {hit.method for hit in reader.spooled()} == {"HEAD"}
    assert reader.spooled("left") == []


async def test_opening_the_unsubscribe_page_unsubscribes_nobody(reader: Reader, sent: Sent) -> None:
    status, headers, body = await reader.fetch("GET", f"/u/{sent.token('u')}")
    assert status == 200
    assert b"<button>Unsubscribe</button>" in body
    assert b"Bakery &lt;Huber&gt;" in body
    assert "p…@gmail.example".encode() in body
    assert b"default-src 'none'" in headers[b"content-security-policy"]
    assert reader.spooled("left") == []


@pytest.mark.parametrize(
    "body",
    [
        b"List-Unsubscribe=One-Click",
        b"list-unsubscribe=one-click&x=1",
        b'--b\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--b--\r\n',
    ],
)
async def test_one_click_unsubscribes_without_a_question(reader: Reader, sent: Sent, body: bytes) -> None:
    status, _, page = await reader.fetch("POST", f"/u/{sent.token('u')}", body)
    assert (status, b"You are unsubscribed" in page) == (200, True)
    assert [hit.delivery for hit in reader.spooled("left")] == sent.deliveries[:1]


async def test_a_post_that_does_not_say_so_only_asks(reader: Reader, sent: Sent) -> None:
    status, _, page = await reader.fetch("POST", f"/u/{sent.token('u')}", b"a=b" * 100_000)
    assert (status, b"<button>" in page, reader.spooled("left")) == (400, True, [])


async def test_a_token_of_another_purpose_or_changed_leads_nowhere(reader: Reader, sent: Sent) -> None:
    token = sent.token("c", 0, 1)
    changed = token[:-2] + ("B" if token[-2] == "A" else "A") + token[-1]
    for path in (f"/o/{token}", f"/u/{token}", f"/c/{sent.token('o')}", f"/c/{changed}", f"/c/{token}/x", "/c/"):
        status, headers, body = await reader.fetch(
            "POST" if path[1] == "u" else "GET", path, b"List-Unsubscribe=One-Click"
        )
        assert status == 404, path
        assert b"location" not in headers
        assert body
    assert reader.spooled() == reader.spooled("left") == []


async def test_a_link_the_campaign_does_not_have_leads_nowhere(reader: Reader, sent: Sent) -> None:
    assert (await reader.fetch("GET", f"/c/{sent.token('c', 0, 99)}"))[0] == 404


async def test_a_token_cannot_reach_a_campaign_of_another_workspace(reader: Reader, sent: Sent) -> None:
    token = sent.tokens.make("c", 2, sent.campaign, sent.deliveries[0], 1)
    assert (await reader.fetch("GET", f"/c/{token}"))[0] == 404


async def test_methods_that_make_no_sense_are_refused(reader: Reader, sent: Sent) -> None:
    for purpose in "ocu":
        status, headers, _ = await reader.fetch("DELETE", f"/{purpose}/{sent.token(purpose, 0, 1)}")
        assert (status, b"GET" in headers[b"allow"]) == (405, True)
    assert reader.spooled() == []


async def test_without_the_database_known_links_work_and_others_say_so(
    clean: Settings, app_pool: Pool, sent: Sent
) -> None:
    reader = Reader(clean, app_pool)
    await reader.fetch("GET", f"/c/{sent.token('c', 0, 1)}")
    away = Reader(clean, _NoPool())
    away.state.tracking = reader.state.tracking
    assert (await away.fetch("GET", f"/c/{sent.token('c', 0, 2)}"))[0] == 302
    away.state.tracking = Tracking(clean)
    assert (await away.fetch("GET", f"/c/{sent.token('c', 0, 2)}"))[0] == 503
    assert b"<button>" in (await away.fetch("GET", f"/u/{sent.token('u')}"))[2]
    assert len(away.spooled()) == 3  # the hit counts all the same


async def test_a_full_disk_keeps_nobody_from_where_they_go(
    reader: Reader, sent: Sent, system: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(spool.os, "write", full)
    assert (await reader.fetch("GET", f"/c/{sent.token('c', 0, 1)}"))[0] == 302
    assert (await reader.fetch("GET", f"/o/{sent.token('o')}"))[2] == PIXEL
    assert (await reader.fetch("POST", f"/u/{sent.token('u')}", b"List-Unsubscribe=One-Click"))[0] == 200
    row = await (await system.execute("SELECT count(*) AS n FROM contact WHERE unsubscribed_at IS NOT NULL")).fetchone()
    assert row == {"n": 1}
    assert (reader.state.tracking.hits.lost, reader.state.tracking.left.lost) == (2, 1)


async def test_who_cannot_be_written_down_is_told_to_try_again(
    clean: Settings, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool.os, "write", _raise)
    reader = Reader(clean, _NoPool())
    status, headers, page = await reader.fetch("POST", f"/u/{sent.token('u')}", b"List-Unsubscribe=One-Click")
    assert (status, b"retry-after" in headers, b"You are unsubscribed" in page) == (503, True, False)


async def test_a_line_cut_off_by_a_full_disk_costs_that_line_only(
    reader: Reader, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(spool.os, "write", lambda file, data: write(file, data[:7]))
    await reader.fetch("GET", f"/o/{sent.token('o')}")
    monkeypatch.setattr(spool.os, "write", write)
    await reader.fetch("GET", f"/o/{sent.token('o', 1)}")
    [path] = directory(reader.state.settings.state).glob("hits-*.log")
    hits = [parse(line) for line in path.read_bytes().splitlines()]
    assert [hit and hit.delivery for hit in hits] == [None, sent.deliveries[1]]


async def test_a_big_spool_file_is_followed_by_the_next(
    reader: Reader, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "ROTATE_BYTES", 100)
    for n in range(6):
        await reader.fetch("GET", f"/o/{sent.token('o', n)}")
    assert len(list(directory(reader.state.settings.state).glob("hits-*.log"))) > 1
    assert [hit.delivery for hit in reader.spooled()] == sent.deliveries[:6]


_HEADER = st.tuples(st.sampled_from([b"user-agent", b"purpose", b"x-moz", b"host"]), st.binary(max_size=600))


@config(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    purpose=st.sampled_from("ocu"),
    token=st.one_of(st.text(max_size=100), st.text("A-_b3=/", min_size=60, max_size=90), st.just("A" * 10_000)),
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "OPTIONS", "BREW"]),
    headers=st.lists(_HEADER, max_size=4),
    body=st.binary(max_size=200),
)
async def test_hostile_tokens_never_redirect_nor_fail(
    reader: Reader, purpose: str, token: str, method: str, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    status, sent, _ = await reader.fetch(method, f"/{purpose}/{token}", body, headers)
    assert status == 404
    assert b"location" not in sent


@config(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(headers=st.lists(_HEADER, max_size=4))
async def test_garbage_in_headers_makes_one_line_that_can_be_read(
    reader: Reader, sent: Sent, headers: list[tuple[bytes, bytes]]
) -> None:
    before = len(reader.spooled())
    assert (await reader.fetch("GET", f"/o/{sent.token('o')}", b"", headers))[0] == 200
    assert len(reader.spooled()) == before + 1


def _raise(file: int, data: bytes) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


class _NoPool:
    """A pool whose database is away."""

    def connection(self) -> Any:
        raise psycopg.OperationalError("the database is away")
