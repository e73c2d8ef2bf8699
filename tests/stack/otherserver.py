"""The server that mailboxes are moved from: a small Dovecot of its own, with awkward folders and mails."""

import contextlib
import hashlib
import imaplib
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.stack.acme import free_ports

PASSWORD = 'früher geheim, "mit" {Klammern} \\'


@dataclass(frozen=True)
class OtherServer:
    """Where it is, and the certificate it shows."""

    port: int
    fingerprint: str
    home: Path
    pop3: int

    def fill(self, user: str, folders: dict[str, list[tuple[bytes, str]]]) -> None:
        """Put mails (text, flags) into folders, named in UTF-7."""
        with self.client(user) as client:
            for folder, mails in folders.items():
                if folder != "INBOX":
                    client.create(f'"{folder}"')
                for number, (body, flags) in enumerate(mails):
                    dated = datetime(2020, 2, 29, 12, 30, tzinfo=UTC) + timedelta(hours=number)
                    kind, said = client.append(f'"{folder}"', flags, imaplib.Time2Internaldate(dated), body)
                    assert kind == "OK", said

    @contextlib.contextmanager
    def client(self, user: str) -> Iterator[imaplib.IMAP4]:
        """A session of a user."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with imaplib.IMAP4_SSL("127.0.0.1", self.port, ssl_context=context) as client:
            client.authenticate("PLAIN", lambda _: f"\0{user}\0{PASSWORD}".encode())
            yield client

    def contents(self, user: str) -> bytes:
        """Everything a reader could have changed: flags, names, sizes."""
        mail = self.home / "mail" / user
        return b"\n".join(
            sorted(
                str(path.relative_to(mail)).encode() for path in mail.rglob("*") if path.parent.name in ("cur", "new")
            )
        )


@contextlib.contextmanager
def other_server() -> Iterator[OtherServer]:
    """Start it and stop it. Separator `/`, folders for German users."""
    home = Path(tempfile.mkdtemp(prefix="to-", dir="/tmp"))
    home.chmod(0o755)
    port, pop3 = free_ports(2)
    fingerprint = _certificate(home)
    (home / "users").write_text(
        "\n".join(f"{user}:{{PLAIN}}{PASSWORD}::::::" for user in ("alt", "viel", "leer", "bounces", "pop", "many"))
        + "\n"
    )
    (home / "mail").mkdir()
    shutil.chown(home / "mail", "thurn-mail", "thurn-mail")
    (home / "dovecot.conf").write_text(f"""
base_dir = {home}/run
state_dir = {home}/run
instance_name = other{port}
log_path = {home}/log
protocols = imap pop3
listen = 127.0.0.1
ssl = required
ssl_cert = <{home}/cert.pem
ssl_key = <{home}/key.pem
mail_location = maildir:{home}/mail/%u:LAYOUT=fs
mail_uid = thurn-mail
mail_gid = thurn-mail
first_valid_uid = 1
auth_username_chars =
auth_failure_delay = 0
passdb {{
  driver = passwd-file
  args = scheme=PLAIN {home}/users
}}
userdb {{
  driver = static
  args = uid=thurn-mail gid=thurn-mail home={home}/mail/%u
}}
namespace inbox {{
  inbox = yes
  separator = /
  mailbox "Gesendete Objekte" {{
    special_use = \\Sent
  }}
  mailbox Alle {{
    special_use = \\All
  }}
}}
service pop3-login {{
  inet_listener pop3 {{
    port = 0
  }}
  inet_listener pop3s {{
    port = {pop3}
    ssl = yes
  }}
}}
service imap-login {{
  inet_listener imap {{
    port = 0
  }}
  inet_listener imaps {{
    port = {port}
    ssl = yes
  }}
}}
""")
    process = subprocess.Popen(["/usr/sbin/dovecot", "-F", "-c", str(home / "dovecot.conf")])
    try:
        deadline = time.monotonic() + 60
        while not (_listens(port) and _listens(pop3)):
            assert time.monotonic() < deadline, "the other server does not start"
            time.sleep(0.05)
        yield OtherServer(port, fingerprint, home, pop3)
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(home)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _certificate(home: Path) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "old.example")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=9))
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    (home / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (home / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )  # fmt: skip
    return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()
