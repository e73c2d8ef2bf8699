"""Codes of an authenticator app (TOTP, RFC 6238) and recovery codes. Pure: what is kept where is two_factor.py's.

Parameters are those every app knows: SHA-1, 6 digits, 30 seconds. A code of the step before or after counts too, for
clocks that are off; none counts twice (RFC 6238, 5.2).
"""

import hmac
import secrets

import pyotp
import segno
from markupsafe import Markup

STEP = 30  # seconds
RECOVERY_CODES = 10
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # nothing that is read as something else


def new_secret() -> str:
    """160 bits as Base32, as RFC 4226 (4, R6) asks for."""
    return pyotp.random_base32()


def uri(secret: str, address: str, issuer: str) -> str:
    """What the QR code says: `otpauth://totp/…`."""
    return pyotp.TOTP(secret).provisioning_uri(name=address, issuer_name=issuer)


def qr(text: str) -> Markup:
    """A QR code as inline SVG, dark on light in both themes, as cameras want it."""
    svg = segno.make(text, error="m").svg_inline(omitsize=True, border=4, light="#fff", dark="#15223c")
    return Markup(svg.replace("<svg ", '<svg aria-hidden="true" ', 1))  # noqa: S704 - only modules, no text of anybody


def spaced(secret: str) -> str:
    """The secret in groups of four, to type it."""
    return " ".join(secret[i : i + 4] for i in range(0, len(secret), 4))


def matching_step(secret: str, code: str, now: float, last_step: int | None) -> int | None:
    """The time step a code belongs to; None for a wrong code and for one that was used, or is older than one used."""
    code = "".join(code.split())
    if len(code) != 6 or not code.isascii() or not code.isdigit():
        return None
    totp, current, found = pyotp.TOTP(secret), int(now) // STEP, None
    for step in (current - 1, current, current + 1):  # all three each time: how long it takes says nothing
        if hmac.compare_digest(totp.generate_otp(step), code) and (last_step is None or step > last_step):
            found = step
    return found


def new_recovery_codes() -> list[str]:
    """Ten codes to print: three groups of four, 59 bits each."""
    return [
        "-".join("".join(secrets.choice(_ALPHABET) for _ in range(4)) for _ in range(3)) for _ in range(RECOVERY_CODES)
    ]


def hash_recovery_code(key: bytes, code: str) -> bytes:
    """What is kept of a recovery code; how it is typed (capitals, spaces, hyphens) does not matter."""
    plain = "".join(c for c in code.lower() if c in _ALPHABET)
    return hmac.digest(key, plain.encode(), "sha256")
