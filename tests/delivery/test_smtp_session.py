"""The client that hands mails to `out`: what a server may do to it, and that no mail's end is guessed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from thurn.mail.smtp import NotConnected, Session, Unanswered

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
GREETING = b"220 out ESMTP 4711\r\n"
OFFER = b"250-out\r\n250-PIPELINING\r\n250 CHUNKING\r\n"
YES = b"250 2.1.0 Ok\r\n"


@asynccontextmanager
async def server(serve: Serve) -> AsyncIterator[int]:
    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(GREETING)
            await reader.readline()
            writer.write(OFFER)
            await serve(reader, writer)
        finally:
            writer.close()

    async with await asyncio.start_server(one, "127.0.0.1", 0) as listening:
        yield listening.sockets[0].getsockname()[1]


async def read_mail(reader: asyncio.StreamReader) -> bytes:
    await reader.readline()
    await reader.readline()
    size = int((await reader.readline()).split()[1])
    return await reader.readexactly(size)


async def test_answers_belong_to_their_mails_however_they_arrive() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert [await read_mail(reader) for _ in range(3)] == [b"one", b"two\r\n", b""]
        said = (
            YES * 2 + b"250 2.0.0 Ok: queued as A\r\n" + YES + b"550-5.1.1 No\r\n550 5.1.1 such user\r\n554 5.5.1 x\r\n"
        )
        for byte in said + YES * 2 + b"452-4.3.1 Disk\r\n452 full\r\n":
            writer.write(bytes([byte]))
            await writer.drain()

    async with server(serve) as port:
        session = await Session.connect("127.0.0.1", port, "here.example")
        assert session.server_process == 4711
        answers = [session.send(b"a@x.example", b"b@x.example", data) for data in (b"one", b"two\r\n", b"")]
        assert session.depth == 3
        replies = [str(await asyncio.wait_for(answer, 60)) for answer in answers]
        assert replies == ["250 2.0.0 Ok: queued as A", "550 5.1.1 No 5.1.1 such user", "452 4.3.1 Disk full"]
        assert session.depth == 0
        session.abort()


@pytest.mark.parametrize(
    "said", [b"", YES, YES * 2, YES * 2 + b"250 2.0.0 Ok: que", b"\0\xff\r\n", b"421 4.3.0 bye\r\n"]
)
async def test_a_connection_that_ends_leaves_what_was_written_unanswered(said: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_mail(reader)
        writer.write(said)
        await writer.drain()

    async with server(serve) as port:
        session = await Session.connect("127.0.0.1", port, "here.example")
        first, second = (session.send(b"a@x.example", b"b@x.example", b"mail") for _ in range(2))
        await asyncio.wait_for(session.room(), 60)  # whoever waits for room is told, too
        for answer in (first, second):
            with pytest.raises(Unanswered):
                await asyncio.wait_for(answer, 60)
        with pytest.raises(NotConnected):
            session.send(b"a@x.example", b"b@x.example", b"mail")


async def test_there_is_room_when_the_oldest_is_answered() -> None:
    go = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_mail(reader)
        await go.wait()
        writer.write(YES * 3)
        await reader.read()

    async with server(serve) as port:
        session = await Session.connect("127.0.0.1", port, "here.example")
        for _ in range(2):
            session.send(b"a@x.example", b"b@x.example", b"mail")
        impatient = asyncio.create_task(session.room())
        await asyncio.sleep(0)
        impatient.cancel()
        waiting = asyncio.create_task(session.room())
        assert not (await asyncio.wait([waiting], timeout=0.05))[0]
        go.set()
        await asyncio.wait_for(waiting, 60)
        assert session.depth == 1
        session.abort()


@pytest.mark.parametrize("greeting", [b"554 go away\r\n", b"", b"220 no extensions\r\n250 plain\r\n"])
async def test_a_server_that_does_not_want_us_gets_nothing(greeting: bytes) -> None:
    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        writer.close()

    async with await asyncio.start_server(one, "127.0.0.1", 0) as listening:
        with pytest.raises(NotConnected):
            await Session.connect("127.0.0.1", listening.sockets[0].getsockname()[1], "here.example")
