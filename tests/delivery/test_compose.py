"""The bytes that are handed over, checked by parsers and a verifier that share no code with ours."""

import base64
from email import message_from_bytes, policy

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from thurn.content.program import compile_mail
from thurn.delivery.compose import Composer, Letter, Sender, Unsendable
from thurn.mail.dkim import Signer
from thurn.mail.tokens import TrackingTokens, VerpTokens

RSA = rsa.generate_private_key(65537, 2048)
ED = ed25519.Ed25519PrivateKey.generate()
TRACKING, VERP = TrackingTokens(b"t" * 32), VerpTokens(b"v" * 32)
HTML = """<html><body><p>Hello {{ contact.first_name | default: "friend" }},</p>
<p><a href="https://shop.example/a?x=1&amp;y=2">Look</a></p>
<p><a href="{{ unsubscribe_url }}">Unsubscribe</a></p></body></html>"""


def der(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def composer(subject: str = "News for {{ contact.first_name }}", name: str = "Brotzeit") -> Composer:
    return Composer(
        workspace=1,
        campaign=7,
        sender=Sender(name, "post@brotzeit.example", "", "bounce.brotzeit.example"),
        program=compile_mail("html", subject, HTML),
        signers=[Signer("brotzeit.example", "r1", der(RSA)), Signer("brotzeit.example", "e1", der(ED))],
        base_url="http://mail.brotzeit.example",
        tracking=TRACKING,
        verp=VERP,
    )


def dns(name: bytes, timeout: int = 5) -> bytes:
    if name.startswith(b"r1."):
        return b"v=DKIM1; k=rsa; p=" + base64.b64encode(
            RSA.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        )
    return b"v=DKIM1; k=ed25519; p=" + base64.b64encode(ED.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))


def letter(fields: dict[str, str], **more: str) -> Letter:
    return composer(**more).compose(42, "ada@reader.example", "google", fields)


@pytest.mark.parametrize(
    "name",
    ["Ada", "", "Zoë ☕", "x" * 3000, "line\r\nbreak", ".", "<script>alert(1)</script>", "=?utf-8?q?=0A?=", "\x00\x07"],
)
def test_both_signatures_verify_whatever_is_filled_in(name: str) -> None:
    data = letter({"first_name": name}).data
    verifier = dkim.DKIM(data)
    assert verifier.verify(0, dnsfunc=dns), "the first signature"
    assert dkim.DKIM(data).verify(1, dnsfunc=dns), "the second signature"


def test_a_changed_byte_breaks_the_signature() -> None:
    data = letter({"first_name": "Ada"}).data
    assert not dkim.verify(data.replace(b"Hello Ada", b"Hello Eve").replace(b"Ada", b"Eve"), dnsfunc=dns)


def test_a_second_from_breaks_the_signature() -> None:
    assert not dkim.verify(b"From: evil@x.example\r\n" + letter({"first_name": "Ada"}).data, dnsfunc=dns)


def test_the_mail_has_what_providers_ask_for() -> None:
    sent = letter({"first_name": "Zoë"}, name="Café Brotzeit")
    mail = message_from_bytes(sent.data, policy=policy.default)
    assert not mail.defects
    assert mail["From"] == "Café Brotzeit <post@brotzeit.example>"
    assert mail["Subject"] == "News for Zoë"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    url, address = mail["List-Unsubscribe"].split(", ")
    assert TRACKING.read(url.strip("<>").rpartition("/")[2], "u").delivery == 42
    assert address.startswith("<mailto:u.")
    assert address.endswith("@bounce.brotzeit.example?subject=unsubscribe>")
    assert VERP.read_leave(address.removeprefix("<mailto:").partition("?")[0]) == (7, 42)
    assert mail["CFBL-Address"] == "fbl@bounce.brotzeit.example; report=arf"
    assert VERP.read_token(mail["CFBL-Feedback-ID"]) == (7, 42)
    for each in mail.get_all("DKIM-Signature"):  # RFC 9477, 3.1: the signature covers it
        assert {"cfbl-address", "cfbl-feedback-id", "list-unsubscribe"} <= set(
            each.partition("h=")[2].split(";")[0].split(":")
        )
    text, html = mail.iter_parts()
    assert "Hello Zoë" in text.get_content()
    assert "Hello Zoë" in html.get_content()
    assert "https://shop.example" not in html.get_content(), "links are tracked, targets are stored"
    assert VERP.read(sent.sender.decode()) == (7, 42)
    assert len(sent.sender.partition(b"@")[0]) <= 64
    assert max(map(len, sent.data.split(b"\r\n"))) <= 998
    assert b"\n" not in sent.data.replace(b"\r\n", b"")


def test_the_message_id_stays_the_same_at_every_attempt() -> None:
    ids = {message_from_bytes(letter({"first_name": "Ada"}).data)["Message-ID"] for _ in range(2)}
    assert len(ids) == 1


@pytest.mark.parametrize(
    "address", ["zoë@reader.example", "a b@reader.example", "a>@x.example", 'a"@x.example', "a\r\n@x"]
)
def test_an_address_that_cannot_stand_in_an_envelope_is_not_sent(address: str) -> None:
    with pytest.raises(Unsendable):
        composer().compose(1, address, "other", {})


def test_a_value_cannot_add_a_header() -> None:
    mail = message_from_bytes(letter({"first_name": "x\r\nBcc: victim@x.example"}).data)
    assert mail["Bcc"] is None
