"""Trying a relay: connect, encrypt, sign in, hang up. No mail is sent. What went wrong is said with what to do.

The server is trusted with nothing: bounded in bytes and time, its certificate is checked before a password is sent.
"""

import smtplib
import socket
import ssl
import threading
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal, cast

from thurn.mail.trust import client_context, stranger
from thurn.moves.hosts import Refused, Resolve, address_of
from thurn.settings import Settings

_QUIET = 10.0  # seconds without a byte
_WHOLE = 30.0  # seconds for everything
_MOST = 64 * 1024  # bytes of everything it says

Trouble = Literal["", "network", "certificate", "password", "refused"]


@dataclass(frozen=True, slots=True)
class Door:
    """Where a relay is and how to get in. `fingerprint`: SHA-256 of its certificate in hex, instead of an authority."""

    host: str
    port: int
    security: str
    username: str = ""
    password: str = ""
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """What came of a try; `says` is for a person."""

    trouble: Trouble
    says: str

    @property
    def works(self) -> bool:
        """Whether mail can go there."""
        return not self.trouble


class _Bounded:
    """A file of which only so much is read, whatever a server sends."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._left = file, _MOST

    def readline(self, limit: int = -1) -> bytes:
        """One line; `OSError` once it is too much."""
        line = self._file.readline(limit)
        self._left -= len(line)
        if self._left < 0:
            raise OSError("it sent more than there should be")
        return line

    def close(self) -> None:
        """Close it."""
        self._file.close()


class _Client(smtplib.SMTP):
    file: Any
    sock: Any

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None:
            self.file = _Bounded(cast("BinaryIO", self.sock.makefile("rb")))
        return super().getreply()


def probe(settings: Settings, door: Door, resolve: Resolve | None = None) -> Found:
    """Try to sign in; blocks up to half a minute, so not in an event loop."""
    try:
        address = address_of(settings, door.host, door.port, resolve)
    except Refused as refused:
        return Found("network", str(refused))
    client = _Client(local_hostname=settings.hostname, timeout=_QUIET)
    hang_up = threading.Timer(_WHOLE, lambda: _shut(client))
    hang_up.daemon = True
    hang_up.start()
    try:
        return _talk(client, address, door)
    except ssl.SSLCertVerificationError as error:
        return Found("certificate", f"The certificate of {door.host} is not valid: {error.verify_message}.")
    except smtplib.SMTPAuthenticationError as error:
        return Found("password", _refused(door, error.smtp_code, error.smtp_error))
    except smtplib.SMTPResponseException as error:
        return Found("refused", f"{door.host} refuses us: {error.smtp_code} {_text(error.smtp_error)}")
    except smtplib.SMTPNotSupportedError:
        return Found("password", f"{door.host} offers no way to sign in that we know (PLAIN or LOGIN).")
    except smtplib.SMTPException as error:
        return Found("network", f"{door.host} said something that is not SMTP: {error}. Is the port right?")
    except (OSError, ValueError) as error:
        return Found("network", _unreachable(door, error))
    finally:
        hang_up.cancel()
        client.close()


def _talk(client: _Client, address: str, door: Door) -> Found:
    client.sock = socket.create_connection((address, door.port), _QUIET)
    if door.security == "tls":
        client.sock = _encrypted(client.sock, door)
    code, text = client.getreply()
    if code != 220:
        raise smtplib.SMTPConnectError(code, text)
    client.ehlo()
    if door.security == "starttls":
        if not client.has_extn("starttls"):
            return Found(
                "certificate", f"{door.host} does not offer STARTTLS at port {door.port}. Try port 465 with TLS."
            )
        code, text = client.docmd("STARTTLS")
        if code != 220:
            raise smtplib.SMTPResponseException(code, text)
        client.sock = _encrypted(client.sock, door)
        client.file = None  # what was said before TLS is not believed (RFC 3207, 4.2)
        client.ehlo()
    if door.username:
        client.login(door.username, door.password)
    client.quit()
    return Found("", "Signed in." if door.username else "It takes mail from us without a password.")


def _encrypted(sock: socket.socket, door: Door) -> ssl.SSLSocket:
    wrapped = client_context(door.fingerprint).wrap_socket(sock, server_hostname=door.host)
    if shown := stranger(wrapped, door.fingerprint):
        wrapped.close()
        raise _another(shown)
    return wrapped


def _another(shown: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError()
    error.verify_message = f"it is another one than you named; its SHA-256 is {shown}"
    return error


def _refused(door: Door, code: int, answer: bytes | str) -> str:
    return (
        f"{door.host} does not take this user name and password: {code} {_text(answer)}. "
        "Make new SMTP credentials there and enter them here."
    )


def _unreachable(door: Door, error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return f"{door.host} takes no connections at port {door.port}. Is the port right?"
    if isinstance(error, TimeoutError):
        return (
            f"{door.host} does not answer at port {door.port}. Either it is down, or a firewall of your hosting "
            "company is in between: try the ports 587, 465 and 2525."
        )
    return f"No connection to {door.host} at port {door.port} came about: {error}."


def _text(answer: bytes | str) -> str:
    text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())[:300]


def _shut(client: _Client) -> None:
    try:
        client.sock.shutdown(socket.SHUT_RDWR)
    except (AttributeError, OSError):
        pass
