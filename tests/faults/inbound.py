"""Other people's mail servers: they try again what got no 250, and remember what got one."""

import itertools
import smtplib
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path

from thurn.settings import Settings

PATIENCE = 240.0  # seconds one mail is tried for


def message(mark: str, recipient: str, size: int = 300) -> bytes:
    """A mail with nothing suspicious about it, to be found by its Message-ID."""
    lines = "\r\n".join(["Good morning, and see you at the fair."] * (size // 40))
    return (
        f"From: Franz <franz@elsewhere.example>\r\nTo: {recipient}\r\nSubject: The fair, {mark}\r\n"
        f"Date: {formatdate()}\r\nMessage-ID: <{mark}@elsewhere.example>\r\nMIME-Version: 1.0\r\n"
        f"Content-Type: text/plain; charset=utf-8\r\n\r\n{lines}\r\n"
    ).encode()


@dataclass
class Servers:
    """Several servers that send at the same time; `taken` are the marks that got a 250."""

    settings: Settings
    recipients: list[str]
    mails: int
    at_once: int = 4
    taken: set[str] = field(default_factory=set)
    put_off: Counter[str] = field(default_factory=Counter)  # why there was no 250: a reply, or `connection`
    given_up: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._numbers = iter(range(self.mails))
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._server) for _ in range(self.at_once)]

    def start(self) -> None:
        """Begin to send."""
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """Wait until every mail has got its 250 or was given up."""
        for thread in self._threads:
            thread.join()

    def wait_for(self, count: int, seconds: float = 240) -> None:
        """Wait until `count` mails were taken."""
        end = time.monotonic() + seconds
        while len(self.taken) < count:
            assert time.monotonic() < end, f"only {len(self.taken)} of {count} taken after {seconds} s: {self.put_off}"
            time.sleep(0.02)

    def _server(self) -> None:
        while True:
            with self._lock:
                number = next(self._numbers, None)
            if number is None:
                return
            mark, recipient = f"m{number}", self.recipients[number % len(self.recipients)]
            end = time.monotonic() + PATIENCE
            for wait in itertools.chain((0.1, 0.2, 0.4), itertools.repeat(0.5)):
                why = deliver(self.settings, recipient, message(mark, recipient))
                with self._lock:
                    if not why:
                        self.taken.add(mark)
                        break
                    self.put_off[why] += 1
                    if time.monotonic() > end or why.startswith("5"):
                        self.given_up.append(f"{mark}: {why}")
                        break
                time.sleep(wait)


def deliver(settings: Settings, recipient: str, mail: bytes) -> str:
    """One try; the empty string if it was taken, else why not: the reply, or `connection`."""
    try:
        with smtplib.SMTP("127.0.0.1", settings.port["smtp"], "elsewhere.example", timeout=60) as client:
            client.ehlo()
            steps = (
                lambda: client.mail("franz@elsewhere.example"),
                lambda: client.rcpt(recipient),
                lambda: client.data(mail),
            )
            for step in steps:
                code, words = step()
                if code != 250:
                    return f"{code} {words.decode('utf-8', 'replace')[:60]}"
    except smtplib.SMTPServerDisconnected:
        return "connection"
    except smtplib.SMTPResponseException as error:
        return f"{error.smtp_code} {error.smtp_error!r:.60}"
    except OSError:
        return "connection"
    return ""


def arrived(settings: Settings) -> Counter[str]:
    """How often each mark lies in a mailbox, whatever the folder."""
    found: Counter[str] = Counter()
    for path in (settings.state / "mail").rglob("*"):
        if path.parent.name in ("new", "cur") and path.is_file():
            found[_mark(path)] += 1
    return found


def _mark(path: Path) -> str:
    for line in path.read_bytes().split(b"\n"):
        if line.lower().startswith(b"message-id: <"):
            return line.partition(b"<")[2].partition(b"@")[0].decode()
    return ""


_QUEUES = ("maildrop", "incoming", "active", "deferred")


def queued(settings: Settings) -> Counter[str]:
    """Mails that `mx` still has to deliver, by queue."""
    queue = settings.state / "mx" / "queue"
    return Counter(name for name in _QUEUES for path in (queue / name).rglob("*") if path.is_file())


def wait_until_delivered(settings: Settings, seconds: float = 300) -> None:
    """Wait until the queue is empty. Postfix waits as long again as a mail is old: on a busy machine that adds up."""
    end = time.monotonic() + seconds
    while left := queued(settings):
        assert time.monotonic() < end, f"still queued after {seconds} s: {dict(left)}"
        time.sleep(0.2)
