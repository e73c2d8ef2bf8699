"""What sending services report, in samples as they document them, and what none of them should get past us."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from thurn.feedback.classify import classify
from thurn.feeds import events, proof
from thurn.feeds.proof import Forged

TOKEN = "aebagbafaydqqcik@example.com"

# (service, body, what comes of it: kind, address, category or type, hard), as the services document their calls
SAMPLES = [
    (each["service"], each["body"], [tuple(wanted) for wanted in each["wanted"]])
    for each in json.loads((Path(__file__).parent / "samples.json").read_text())
]


@pytest.mark.parametrize(("kind", "body", "wanted"), SAMPLES)
def test_a_service_s_own_samples_are_read(kind: str, body: Any, wanted: list[Any]) -> None:
    found = []
    for event in events.read(kind, json.dumps(body).encode()):
        incoming = event.incoming()
        verdict = classify(incoming.recipients[0].reply)
        what = verdict.category if event.kind == "bounce" else event.feedback_type
        found.append((event.kind, event.address, what, event.kind == "bounce" and verdict.hard))
    assert found == wanted


def test_names_that_may_carry_our_token_come_along() -> None:
    for kind, body, wanted in SAMPLES:
        if wanted and TOKEN in json.dumps(body) and kind != "sendgrid":
            assert TOKEN in events.read(kind, json.dumps(body).encode())[0].names


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20)
    | st.sampled_from(["bounce", "failed", "permanent", "HardBounce", "Bounce", "hard_bounce", "\0", "\ud800"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["event", "event-data", "severity", "msys", "message_event", "type", "email", "reason",
                         "status", "RecordType", "Type", "Details", "notificationType", "bounce", "bouncedRecipients",
                         "mail", "headers", "delivery-status", "code", "bounce_class", "message", "message-id"]),
        inner, max_size=6),
    max_leaves=30,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(events.SERVICES), _JSON)
def test_any_json_is_read_or_refused(kind: str, body: Any) -> None:
    for event in events.read(kind, json.dumps(body).encode()):
        event.incoming()


@pytest.mark.parametrize("body", [b"", b"\xff", b"{", b"[" * 100_000, b"nul"])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(events.Unreadable):
        events.read("sendgrid", body)


# ------------------------------------------------------------------ proofs


def sendgrid_signed(body: bytes, when: str = "1600112502") -> tuple[str, dict[str, str]]:
    """(verification key, headers) of a signed call."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = base64.b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
    signature = base64.b64encode(key.sign(when.encode() + body, ec.ECDSA(SHA256()))).decode()
    return public, {"x-twilio-email-event-webhook-signature": signature, "x-twilio-email-event-webhook-timestamp": when}


def test_sendgrid_s_signature_covers_time_and_body() -> None:
    key, headers = sendgrid_signed(b"[]")
    proof.sendgrid(headers, b"[]", key)
    other, _ = sendgrid_signed(b"[]")
    later = headers | {"x-twilio-email-event-webhook-timestamp": "1600112503"}
    broken = headers | {"x-twilio-email-event-webhook-signature": "!"}
    for bad, body, secret in (
        (headers, b"[ ]", key), (headers, b"[]", other), (later, b"[]", key), (broken, b"[]", key), ({}, b"[]", key),
    ):  # fmt: skip
        with pytest.raises(Forged):
            proof.sendgrid(bad, body, secret)


def mailgun_signed(event: dict[str, Any], secret: str, token: str = "t" * 50) -> bytes:
    """A call of Mailgun's."""
    signature = hmac.new(secret.encode(), f"1529006854{token}".encode(), hashlib.sha256).hexdigest()
    return json.dumps(
        {"signature": {"timestamp": "1529006854", "token": token, "signature": signature}, "event-data": event}
    ).encode()


def test_mailgun_s_signature_is_checked() -> None:
    assert proof.mailgun(mailgun_signed({}, "key"), "key") == b"t" * 50
    for body in (
        mailgun_signed({}, "other"),
        b"{}",
        b"[]",
        b'{"signature": {"timestamp": "1"}}',
        b"\xff",
        b'"signature"',
    ):
        with pytest.raises(Forged):
            proof.mailgun(body, "key")


def test_a_password_comes_as_basic_or_as_bearer() -> None:
    def given(text: str) -> dict[str, str]:
        return {"authorization": text}

    right = base64.b64encode(b"thurn:s3cret").decode()
    proof.basic(given(f"Basic {right}"), "s3cret")
    proof.basic(given("Bearer s3cret"), "s3cret")
    wrong = base64.b64encode(b"thurn:other").decode()
    for bad in ("", "Basic", f"Basic {wrong}", "Basic !!", "Bearer other", "Digest s3cret", "Bearer \xfc"):
        with pytest.raises(Forged):
            proof.basic(given(bad), "s3cret")


TOPIC = "arn:aws:sns:eu-west-1:123456789012:bounces"
CERTIFICATE = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0.pem"


class Amazon:
    """A certificate, and whoever signs with it."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(65537, 2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(self._key.public_key())
            .serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
            .sign(self._key, SHA256())
        )  # fmt: skip
        self.pem = certificate.public_bytes(Encoding.PEM)
        self.asked: list[str] = []

    def fetch(self, url: str) -> bytes:
        """What stands at an address."""
        self.asked.append(url)
        return self.pem

    def message(self, text: str, kind: str = "Notification", version: str = "1", **more: str) -> dict[str, str]:
        """A signed SNS message."""
        fields = {"Type": kind, "MessageId": "m1", "TopicArn": TOPIC, "Message": text, "Timestamp": "2026-11-01T10:00Z",
                  "SignatureVersion": version, "SigningCertURL": CERTIFICATE, **more}  # fmt: skip
        names = ["Message", "MessageId", "SubscribeURL", "Subject", "Timestamp", "Token", "TopicArn", "Type"]
        signed = "".join(f"{name}\n{fields[name]}\n" for name in names if name in fields).encode()
        hashing = SHA1() if version == "1" else SHA256()  # noqa: S303 - Amazon's choice
        fields["Signature"] = base64.b64encode(self._key.sign(signed, padding.PKCS1v15(), hashing)).decode()
        return fields


@pytest.fixture(scope="module")
def amazon() -> Amazon:
    return Amazon()


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_message_of_amazon_s_is_believed(amazon: Amazon, version: str) -> None:
    proof.sns(amazon.message("{}", version=version, Subject="x"), TOPIC, amazon.fetch)
    confirm = amazon.message(
        "x", "SubscriptionConfirmation", version, Token="t", SubscribeURL="https://sns.x.amazonaws.com/"
    )
    proof.sns(confirm, TOPIC, amazon.fetch)


FORGERIES: dict[str, Callable[[dict[str, str]], dict[str, str]]] = {
    "another text": lambda m: m | {"Message": "{ }"},
    "another topic": lambda m: m | {"TopicArn": TOPIC + "2"},
    "no signature": lambda m: {k: v for k, v in m.items() if k != "Signature"},
    "another version": lambda m: m | {"SignatureVersion": "3"},
    "no base64": lambda m: m | {"Signature": "!"},
    "a certificate of somebody's": lambda m: (
        m | {"SigningCertURL": "https://sns.eu-west-1.amazonaws.com.evil.example/a.pem"}
    ),
    "without TLS": lambda m: m | {"SigningCertURL": CERTIFICATE.replace("https", "http")},
    "a user in the address": lambda m: m | {"SigningCertURL": "https://sns.eu-west-1.amazonaws.com@evil.example/a.pem"},
    "another port": lambda m: m | {"SigningCertURL": "https://sns.eu-west-1.amazonaws.com:8443/a.pem"},
    "a broken port": lambda m: m | {"SigningCertURL": "https://sns.eu-west-1.amazonaws.com:x/a.pem"},
    "no certificate": lambda m: m | {"SigningCertURL": "https://sns.eu-west-1.amazonaws.com/?Action=Publish"},
    "the inside": lambda m: m | {"SigningCertURL": "https://127.0.0.1/a.pem"},
    "a bucket": lambda m: m | {"SigningCertURL": "https://s3.amazonaws.com/evil/a.pem"},
    "a line end": lambda m: m | {"SigningCertURL": CERTIFICATE + "\n.pem"},
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_message_of_amazon_s_is_refused_and_nobody_else_is_asked(amazon: Amazon, forgery: str) -> None:
    asked: list[str] = []

    def fetch(url: str) -> bytes:
        asked.append(url)
        return amazon.pem

    with pytest.raises(Forged):
        proof.sns(FORGERIES[forgery](amazon.message("{}")), TOPIC, fetch)
    assert set(asked) <= {CERTIFICATE}


def test_a_certificate_that_is_none_is_refused(amazon: Amazon) -> None:
    with pytest.raises(Forged):
        proof.sns(amazon.message("{}"), TOPIC, lambda _: b"<html>")
