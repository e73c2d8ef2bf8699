"""What a scanner like testssl finds at the doors of mail: versions, ciphers, forward secrecy, sign-in in the clear."""

import smtplib
import socket
import ssl

import pytest
from stackworld import PASSWORD, RESI, plain_token
from tlsworld import DOORS, EVERYTHING, MODERN, agreed, names, offer, renegotiates, shaken

from thurn.settings import Settings

pytestmark = pytest.mark.stack
V = ssl.TLSVersion


@pytest.mark.parametrize("service", DOORS)
@pytest.mark.parametrize("version", [V.TLSv1, V.TLSv1_1])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_versions_are_refused(stack: Settings, service: str, version: ssl.TLSVersion) -> None:
    assert agreed(stack.port[service], DOORS[service], offer(version)) == ""


@pytest.mark.parametrize("service", DOORS)
def test_tls_1_3_and_1_2_are_spoken_without_compression(stack: Settings, service: str) -> None:
    for version, spoken in ((V.TLSv1_3, "TLSv1.3"), (V.TLSv1_2, "TLSv1.2")):
        with shaken(stack.port[service], DOORS[service], offer(version)) as secure:
            assert (secure.version(), secure.compression()) == (spoken, None)


@pytest.mark.parametrize("service", [door for door in DOORS if door != "smtp"])
def test_people_s_programs_get_forward_secrecy_and_authenticated_encryption_or_nothing(
    stack: Settings, service: str
) -> None:
    modern = names(MODERN)
    others = [name for name in names(EVERYTHING) if name not in modern]
    assert len(others) > 60, "this OpenSSL can still offer what must be refused"
    port, before = stack.port[service], DOORS[service]
    assert agreed(port, before, offer(V.TLSv1_2, ":".join(others) + ":@SECLEVEL=0")) == ""
    assert agreed(port, before, offer(V.TLSv1_2, ":".join([*others, *modern]) + ":@SECLEVEL=0")) in modern


def test_other_servers_may_use_what_is_old_but_not_what_is_broken(stack: Settings) -> None:
    port = stack.port["smtp"]
    broken = names("aNULL:eNULL:LOW:EXPORT:RC4:3DES:MD5:PSK:SRP:IDEA:SEED:@SECLEVEL=0")
    assert broken
    assert agreed(port, "smtp", offer(V.TLSv1_2, ":".join(broken) + ":@SECLEVEL=0")) == ""
    assert agreed(port, "smtp", offer(V.TLSv1_2, "ECDHE-ECDSA-AES128-SHA")) == "ECDHE-ECDSA-AES128-SHA"
    assert agreed(port, "smtp", offer(V.TLSv1_2)) in names(MODERN), "what is good comes first"


@pytest.mark.parametrize("service", DOORS)
def test_a_client_cannot_have_the_handshake_done_again(stack: Settings, service: str) -> None:
    before = DOORS[service]
    assert not renegotiates(stack.port[service], before)


def test_nobody_signs_in_without_tls(stack: Settings) -> None:
    with smtplib.SMTP("127.0.0.1", stack.port["submission"], "pc.example", timeout=60) as client:
        client.ehlo()
        assert not client.has_extn("auth")
        assert client.docmd("AUTH", "PLAIN AGEAYg==")[0] in (502, 503, 530, 538)
    with smtplib.SMTP("127.0.0.1", stack.port["smtp"], "pc.example", timeout=60) as client:
        client.starttls(context=offer(V.TLSv1_3))
        client.ehlo()
        assert not client.has_extn("auth"), "port 25 is for other servers"
    with _from_elsewhere(stack, "imap") as imap:
        assert b"LOGINDISABLED" in _until(imap, b"* OK")
        imap.sendall(f'a LOGIN {RESI} "{PASSWORD}"\r\n'.encode())
        assert b"PRIVACYREQUIRED" in _until(imap, b"a ")
    with _from_elsewhere(stack, "managesieve") as sieve:
        assert b'"SASL" ""' in _until(sieve, b"OK")
        sieve.sendall(f'AUTHENTICATE "PLAIN" "{plain_token(RESI)}"\r\n'.encode())
        assert sieve.recv(4096).startswith(b"NO")


def _until(link: socket.socket, last: bytes) -> bytes:
    """What is said up to the line that begins with `last`, in however many pieces it comes."""
    said = b""
    while not (said.endswith(b"\r\n") and said.splitlines()[-1].startswith(last)):
        part = link.recv(4096)
        assert part, said
        said += part
    return said


def _from_elsewhere(stack: Settings, service: str) -> socket.socket:
    """From another address: one that connects from the very address it connects to counts as safe with Dovecot."""
    return socket.create_connection(("127.0.0.1", stack.port[service]), 60, source_address=("127.0.0.2", 0))
