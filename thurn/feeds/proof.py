"""Whether a call of a webhook is the service's: by its signature, or by a secret that only the service was told. Pure.

SendGrid signs with ECDSA P-256, Mailgun with HMAC-SHA256, Amazon SNS with RSA under a certificate from its own host;
Postmark, SparkPost and Brevo sign nothing and are given a user name and password for the address.
"""

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

USER = "thurn"  # of HTTP Basic, RFC 7617
SIGNED = frozenset({"ses", "sendgrid", "mailgun"})
_SNS_HOST = re.compile(r"sns\.[a-z0-9-]{3,30}\.amazonaws\.com(\.cn)?")


class Forged(Exception):
    """The call does not prove that it comes from the service; the message says what is missing."""


def basic(headers: Mapping[str, str], secret: str) -> None:
    """User name and password in the address, or the secret as a bearer token. `Forged`."""
    scheme, _, given = headers.get("authorization", "").partition(" ")
    expected = secret
    if scheme.lower() == "basic":
        expected = f"{USER}:{secret}"
        try:
            given = base64.b64decode(given, validate=True).decode("utf-8", "replace")
        except (binascii.Error, ValueError):
            given = ""
    elif scheme.lower() != "bearer":
        raise Forged("The call brings no password.")
    if not hmac.compare_digest(given.encode(), expected.encode()):
        raise Forged("The call brings a wrong password.")


def public_key(text: str) -> ec.EllipticCurvePublicKey:
    """SendGrid's verification key, as its page shows it. `ValueError` for anything else."""
    try:
        key = load_der_public_key(base64.b64decode("".join(text.split()), validate=True))
    except (binascii.Error, UnsupportedAlgorithm) as error:
        raise ValueError("not a key") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise ValueError("not an elliptic curve key")
    return key


def sendgrid(headers: Mapping[str, str], body: bytes, secret: str) -> None:
    """The signature over time and body. `Forged`."""
    given = headers.get("x-twilio-email-event-webhook-signature", "")
    when = headers.get("x-twilio-email-event-webhook-timestamp", "")
    if not given or not when:
        raise Forged("The call is not signed. Switch on “Signed event webhook” at SendGrid.")
    try:
        public_key(secret).verify(
            base64.b64decode(given, validate=True), when.encode("utf-8", "replace") + body, ec.ECDSA(SHA256())
        )
    except (InvalidSignature, binascii.Error, ValueError) as error:
        raise Forged("The signature does not fit the key.") from error


def mailgun(body: bytes, secret: str) -> bytes:
    """The signature in the body; gives its token, which counts once, as it does not cover the event. `Forged`."""
    try:
        given = json.loads(body)["signature"]
        when, token, signature = (str(given[name])[:200] for name in ("timestamp", "token", "signature"))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Forged("The call is not signed.") from error
    expected = hmac.new(secret.encode(), f"{when}{token}".encode("utf-8", "replace"), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(signature.encode("utf-8", "replace"), expected.encode()):
        raise Forged("The signature does not fit the signing key.")
    return token.encode("utf-8", "replace")


def amazon(url: str) -> str:
    """`url`, if it is one of Amazon SNS; `Forged` for any other host, port or way."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise Forged("The call names an address that is none.") from error
    fits = _SNS_HOST.fullmatch(parts.hostname or "") and port in (None, 443) and parts.username is None
    if parts.scheme != "https" or not fits or len(url) > 2000 or not url.isascii() or not url.isprintable():
        raise Forged("The call names an address that is not Amazon's.")
    return url


def sns(message: dict[str, Any], topic: str, certificate: Callable[[str], bytes]) -> None:
    """An SNS message: of our topic, and signed with a key of Amazon's. `certificate` fetches one (PEM). `Forged`."""
    fields = {name: value for name, value in message.items() if isinstance(value, str)}
    if not hmac.compare_digest(fields.get("TopicArn", "").encode(), topic.encode()):
        raise Forged("The call is about another topic.")
    if fields.get("Type") == "Notification":
        names = ["Message", "MessageId", *(["Subject"] if "Subject" in fields else []), "Timestamp", "TopicArn", "Type"]
    else:
        names = ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
    missing = [name for name in names if name not in fields]
    hashing = {"1": SHA1, "2": SHA256}.get(fields.get("SignatureVersion", ""))
    if missing or hashing is None:
        raise Forged("The call is no message of Amazon SNS.")
    signed = "".join(f"{name}\n{fields[name]}\n" for name in names).encode("utf-8", "replace")
    url = amazon(fields.get("SigningCertURL", ""))
    if not urlsplit(url).path.endswith(".pem"):
        raise Forged("The call names no certificate.")
    try:
        key = x509.load_pem_x509_certificate(certificate(url)).public_key()
        if not isinstance(key, rsa.RSAPublicKey):
            raise Forged("The certificate is of another kind.")
        # Version 1 is SHA-1 by Amazon's choice; what it protects here is a message that Amazon itself made.
        key.verify(base64.b64decode(fields.get("Signature", ""), validate=True), signed, padding.PKCS1v15(), hashing())
    except (InvalidSignature, binascii.Error, ValueError) as error:
        raise Forged("The signature does not fit Amazon's certificate.") from error
