"""A certificate authority on loopback: Debian's pebble, which really connects to the ports it is told to check."""

import contextlib
import datetime as dt
import http.client
import ipaddress
import itertools
import json
import os
import random
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class Authority:
    """Pebble while it runs."""

    directory: str
    api_root: Path  # checks its own address
    management: int

    def root(self) -> str:
        """The certificate that all it issues leads to; another in each life."""
        link = http.client.HTTPSConnection(
            "127.0.0.1", self.management, context=ssl.create_default_context(cafile=str(self.api_root)), timeout=60
        )
        link.request("GET", "/roots/0")
        return link.getresponse().read().decode()


def certificate(
    names: list[str],
    *,
    key: ec.EllipticCurvePrivateKey | None = None,
    begins: dt.timedelta = -DAY,
    ends: dt.timedelta = DAY,
    authority: bool = False,
) -> tuple[str, str]:
    """A self-signed certificate and its key, as PEM, valid from and until so far from now."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.IPAddress(ipaddress.ip_address(n)) if n[0].isdigit() else x509.DNSName(n) for n in names]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(Encoding.PEM).decode(), pem(key)


def pem(key: ec.EllipticCurvePrivateKey) -> str:
    """The key as Caddy writes it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()


# Below the range the kernel takes for outgoing connections, as `allocate_ports` does and beside its ports: what is free
# now is still free when a daemon comes to listen there. No port is given twice; two processes begin at different ones.
_CANDIDATES = itertools.chain.from_iterable(
    range(30000 + start, 30000 + start + 100) for start in itertools.cycle(random.sample(range(0, 1500, 100), 15))
)


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody has."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as probe:
            port = next(_CANDIDATES)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                found.append(port)
    return found


@contextmanager
def pebble(folder: Path, *, http: int, https: int, dns: int, lifetime: int = 90 * 86400) -> Iterator[Authority]:
    """Pebble, which validates on these ports and asks that DNS. `lifetime`: seconds a certificate is valid."""
    listen, management = free_ports(2)
    made, key = certificate(["127.0.0.1"], authority=True)
    (folder / "api.pem").write_text(made)
    (folder / "api.key").write_text(key)
    config = {
        "listenAddress": f"127.0.0.1:{listen}", "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(folder / "api.pem"), "privateKey": str(folder / "api.key"),
        "httpPort": http, "tlsPort": https, "ocspResponderURL": "", "certificateValidityPeriod": lifetime,
        "domainBlocklist": ["forbidden.example"],
    }  # fmt: skip
    (folder / "pebble.json").write_text(json.dumps({"pebble": config}))
    with (folder / "pebble.log").open("w") as log:
        process = subprocess.Popen(
            ["pebble", "-config", str(folder / "pebble.json"), "-dnsserver", f"127.0.0.1:{dns}"],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"},
        )
    try:
        end = time.monotonic() + 60
        for port in (listen, management):
            while True:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                assert process.poll() is None, (folder / "pebble.log").read_text()
                assert time.monotonic() < end, "pebble does not listen"
                time.sleep(0.05)
        yield Authority(f"https://127.0.0.1:{listen}/dir", folder / "api.pem", management)
    finally:
        process.terminate()
        process.wait(60)
