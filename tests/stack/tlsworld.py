"""Handshakes as a scanner makes them: any version, any cipher this OpenSSL still has, by any protocol's way in."""

import smtplib
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

# Forward secrecy and authenticated encryption: what may be agreed on with TLS 1.2.
MODERN = "ECDHE+AESGCM:ECDHE+CHACHA20"
EVERYTHING = "ALL:COMPLEMENTOFALL:@SECLEVEL=0"

# Service -> what is spoken before TLS begins.
DOORS = {"smtp": "smtp", "submission": "smtp", "submissions": "", "imap": "imap", "imaps": "", "pop3s": "",
         "managesieve": "sieve"}  # fmt: skip


def names(ciphers: str) -> list[str]:
    """The ciphers of TLS 1.2 and below in an OpenSSL list."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers(ciphers)
    return [cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] != "TLSv1.3"]


def offer(version: ssl.TLSVersion, ciphers: str = EVERYTHING) -> ssl.SSLContext:
    """A client that speaks this version only, and trusts anybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers(ciphers)
    context.minimum_version = context.maximum_version = version
    return context


@contextmanager
def shaken(port: int, before: str, context: ssl.SSLContext, host: str = "localhost") -> Iterator[ssl.SSLSocket]:
    """A connection after its handshake; ssl.SSLError (or a closed connection) where there was none."""
    if before == "smtp":
        with smtplib.SMTP("127.0.0.1", port, "pc.example", timeout=60) as client:
            client._host = host  # type: ignore[attr-defined]  # what smtplib names in SNI
            client.starttls(context=context)
            assert isinstance(client.sock, ssl.SSLSocket)
            yield client.sock
        return
    with socket.create_connection(("127.0.0.1", port), 60) as link:
        if before == "imap":
            _until(link, b"* OK")
            link.sendall(b"a STARTTLS\r\n")
            _until(link, b"a OK")
        elif before == "sieve":
            _until(link, b"\nOK")
            link.sendall(b"STARTTLS\r\n")
            _until(link, b"OK")
        with context.wrap_socket(link, server_hostname=host) as secure:
            yield secure


def agreed(port: int, before: str, context: ssl.SSLContext, host: str = "localhost") -> str:
    """The cipher that was agreed on; empty if there was no handshake."""
    try:
        with shaken(port, before, context, host) as secure:
            cipher = secure.cipher()
            return cipher[0] if cipher else ""
    except (ssl.SSLError, ConnectionError):
        return ""


def renegotiates(port: int, before: str, host: str = "localhost") -> bool:
    """Whether a client may have the handshake done again (a cheap way to keep a server busy)."""
    way = ["-starttls", before] if before else []
    command = ["openssl", "s_client", "-tls1_2", "-connect", f"127.0.0.1:{port}", "-servername", host, *way]
    done = subprocess.run(command, input=b"R\n", capture_output=True, timeout=60, check=False)
    said = done.stdout + done.stderr
    assert b"RENEGOTIATING" in said, said
    return b"error" not in said.partition(b"RENEGOTIATING")[2]


def _until(link: socket.socket, wanted: bytes) -> None:
    seen = b""
    while wanted not in seen or not seen.endswith(b"\r\n"):
        part = link.recv(4096)
        if not part:
            raise ConnectionResetError(seen)
        seen += part
