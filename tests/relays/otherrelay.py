"""Another company's server: wants TLS and a password, and remembers who brought what."""

import asyncio
import hashlib
import socket
import ssl
import tempfile
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass
class Relay:
    """Users and their passwords; (user, sender, recipient) of what came."""

    users: dict[str, str]
    came: list[tuple[str, str, str]] = field(default_factory=list)
    sign_ins: list[str] = field(default_factory=list)
    refuse: str = ""  # what it answers to MAIL, if it refuses
    port: int = 0
    fingerprint: str = ""

    def authenticate(self, server: SMTP, session: Session, envelope: Envelope, way: str, data: Any) -> AuthResult:
        """As aiosmtpd asks."""
        assert isinstance(data, LoginPassword)
        login = data.login.decode()
        self.sign_ins.append(login)
        if self.users.get(login) == data.password.decode():
            session.user = login  # type: ignore[attr-defined]
            return AuthResult(success=True)
        return AuthResult(success=False, handled=False)

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Refuse, or take it."""
        if self.refuse:
            return self.refuse
        envelope.mail_from = address
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Remember it."""
        for recipient in envelope.rcpt_tos:
            self.came.append((getattr(session, "user", ""), str(envelope.mail_from), recipient))
        return "250 2.0.0 Queued as X1"


def certificate(folder: Path) -> tuple[Path, str]:
    """A certificate for localhost that no authority has signed, with its key, and its SHA-256."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    path = folder / "relay.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path, hashlib.sha256(made.public_bytes(serialization.Encoding.DER)).hexdigest()


@contextmanager
def relay(users: dict[str, str], *, implicit: bool = False, **options: Any) -> Iterator[Relay]:
    """It listens on a port of its own until the block ends."""
    made = Relay(users)
    with tempfile.TemporaryDirectory() as folder:
        path, made.fingerprint = certificate(Path(folder))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        how: dict[str, Any] = {"ssl_context": context} if implicit else {"tls_context": context}
        controller = Listening(
            made, authenticator=made.authenticate, auth_required=bool(users), auth_require_tls=not implicit,
            server_hostname="relay.example", **how, **options,
        )  # fmt: skip
        controller.start()
        made.port = controller.port
        try:
            yield made
        finally:
            controller.stop()


class Listening(Controller):
    """At a port that is its own from the moment it is known."""

    def __init__(self, handler: Relay, **options: Any) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        super().__init__(handler, "127.0.0.1", self._socket.getsockname()[1], **options)

    def _create_server(self) -> Coroutine[Any, Any, asyncio.Server]:
        return self.loop.create_server(self._factory_invoker, sock=self._socket, ssl=self.ssl_context)
