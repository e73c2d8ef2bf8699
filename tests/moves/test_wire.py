"""Servers that mean harm: none of them may hang a move, fill the memory or see a password in the clear."""

import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from thurn.moves import wire
from thurn.moves.copy import Copy
from thurn.moves.wire import Client, Trouble, Untrusted, connect

GREETING = b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN STARTTLS] hello\r\n"
Answer = Callable[[socket.socket, bytes, bytes], None]  # link, tag, rest of the line


@pytest.fixture
def serve() -> Iterator[Callable[..., int]]:
    """Starts a server that greets and answers each line; its port."""
    sockets: list[socket.socket] = []

    def start(answer: Answer, greeting: bytes = GREETING) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        sockets.append(listener)

        def run() -> None:
            link, _ = listener.accept()
            sockets.append(link)
            try:
                link.sendall(greeting)
                for line in link.makefile("rb"):
                    tag, _, rest = line.strip().partition(b" ")
                    if rest.upper() == b"CAPABILITY":
                        link.sendall(b"* CAPABILITY IMAP4rev1 AUTH=PLAIN STARTTLS\r\n" + tag + b" OK done\r\n")
                    else:
                        answer(link, tag, rest)
            except OSError:
                pass

        threading.Thread(target=run, daemon=True).start()
        return int(listener.getsockname()[1])

    yield start
    for each in sockets:
        each.close()


def opened(port: int) -> Client:
    """As after sign-in and EXAMINE."""
    client = connect("127.0.0.1", "127.0.0.1", port, tls=False)
    client._imap.state = "SELECTED"
    return client


def ask(port: int, command: str = "list_folders", *arguments: object, octets: int = 1_000_000) -> object:
    client = opened(port)
    client.wire.allow(octets, 3)
    try:
        return getattr(client, command)(*arguments)
    finally:
        client.wire.close()


def says(words: bytes) -> Answer:
    def answer(link: socket.socket, tag: bytes, rest: bytes) -> None:
        link.sendall(words.replace(b"%b", tag))

    return answer


def flood(piece: bytes) -> Answer:
    def answer(link: socket.socket, tag: bytes, rest: bytes) -> None:
        while True:
            link.sendall(piece)

    return answer


@pytest.mark.parametrize(
    "piece",
    [b"* LIST () \"/\" x\r\n" * 500, b"* 1 EXISTS\r\n" * 500, b"x" * 9000, b"* LIST (((((((((((" * 300,
     b"+ go on\r\n" * 900, b"* LIST () \"/\" {5}\r\nabcde\r\n" * 300],
    ids=["folders", "untagged", "one line", "parentheses", "continuations", "literals"],
)  # fmt: skip
def test_a_flood_ends_where_the_budget_does(serve: Callable[..., int], piece: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(Trouble):
        ask(serve(flood(piece)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60_000_000


def test_a_literal_of_ten_gigabytes_is_refused_before_a_byte_of_it(serve: Callable[..., int]) -> None:
    port = serve(says(b"* 1 FETCH (BODY[] {10000000000}\r\nabc"))
    with pytest.raises(Trouble, match="more than there should be"):
        ask(port)


def test_a_byte_now_and_then_does_not_keep_us(serve: Callable[..., int]) -> None:
    def drip(link: socket.socket, tag: bytes, rest: bytes) -> None:
        while True:
            link.sendall(b"x")
            time.sleep(0.2)

    started = time.monotonic()
    with pytest.raises(Trouble, match="answer"):
        ask(serve(drip))
    assert time.monotonic() - started < 30


@pytest.mark.parametrize(
    "said",
    [b"* LIST nonsense\r\n%b OK done\r\n", b"wrong7 OK done\r\n", b"\x00\xff\xfe\r\n",
     b"* LIST () \"/\" \"&bad-utf7\"\r\n%b OK done\r\n", b"* BYE go away\r\n",
     b"* LIST () \"/\" {" + b"9" * 5000 + b"}\r\n", b"* LIST " + b"(" * 90_000 + b"\r\n%b OK done\r\n"],
)  # fmt: skip
def test_nonsense_is_trouble_and_nothing_worse(serve: Callable[..., int], said: bytes) -> None:
    port = serve(says(said))
    client = opened(port)
    try:
        Copy._ask(client, 1_000_000, "list_folders")
    except (Trouble, wire.imaplib.IMAP4.error):
        pass
    finally:
        client.wire.close()


@pytest.mark.parametrize(
    "greeting", [b"", b"220 smtp.example ESMTP\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"* BYE full\r\n"]
)
def test_what_does_not_speak_imap_is_no_server(serve: Callable[..., int], greeting: bytes) -> None:
    def hang_up(link: socket.socket, tag: bytes, rest: bytes) -> None:
        link.close()

    port = serve(hang_up, greeting or b"\r\n")
    with pytest.raises(Trouble):
        connect("127.0.0.1", "127.0.0.1", port, tls=False)


def test_words_before_the_encryption_are_not_believed(
    serve: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    heard = []

    def answer(link: socket.socket, tag: bytes, rest: bytes) -> None:
        heard.append(rest)
        link.sendall(tag + b" OK begin\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n")

    port = serve(answer)
    monkeypatch.setattr(wire, "STARTTLS_PORT", port)
    with pytest.raises(Untrusted, match="in between"):
        connect("127.0.0.1", "127.0.0.1", port)
    assert heard == [b"STARTTLS"]


def test_a_server_that_does_not_encrypt_gets_no_password(
    serve: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    heard = []

    def answer(link: socket.socket, tag: bytes, rest: bytes) -> None:
        heard.append(rest)
        link.sendall(tag + b" NO never\r\n")

    port = serve(answer)
    monkeypatch.setattr(wire, "STARTTLS_PORT", port)
    with pytest.raises(Untrusted):
        connect("127.0.0.1", "127.0.0.1", port)
    assert heard == [b"STARTTLS"]


def test_more_than_the_largest_message_never_comes_in(serve: Callable[..., int]) -> None:
    def answer(link: socket.socket, tag: bytes, rest: bytes) -> None:
        if b"RFC822.SIZE" in rest:  # a lie
            link.sendall(b"* 1 FETCH (UID 1 RFC822.SIZE 10)\r\n" + tag + b" OK done\r\n")
        else:
            link.sendall(b"* 1 FETCH (UID 1 BODY[] {90000000}\r\n")
            while True:
                link.sendall(b"x" * 65536)

    client = opened(serve(answer))
    copy = Copy(client, client, None)  # type: ignore[arg-type]  # it is not come to
    with pytest.raises(Trouble, match="more than there should be"):
        list(copy._messages("INBOX", [1]))
