"""Signed tokens: in tracking links, and in the envelope sender (VERP).

A token is a few varints and a keyed BLAKE2b MAC over them. It says which delivery it belongs to and cannot be forged or
moved to another one; where a link leads is stored, never carried. Tracking tokens are URL-safe base64, VERP tokens
lower-case base32, because some servers change the case of a local part (RFC 5321, 2.4 forbids it; they do).
"""

from base64 import b32decode, b32encode, urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as DecodeError
from dataclasses import dataclass
from hashlib import blake2b
from hmac import compare_digest

_MAC = 8  # bytes: 2^64 guesses over the network


class InvalidToken(ValueError):
    """Not a token of ours, or changed on the way."""


@dataclass(frozen=True, slots=True)
class Tracked:
    """What a tracking token names. `link` counts from 1; 0 stands for the mail itself."""

    purpose: str  # o open, c click, u unsubscribe, v view in the browser
    workspace: int
    campaign: int
    delivery: int
    link: int


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _varints(data: bytes) -> list[int]:
    values, value, shift = [], 0, 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        if byte & 0x80:
            shift += 7
            continue
        values.append(value)
        value = shift = 0
    if shift:
        raise InvalidToken("cut off")
    return values


class TrackingTokens:
    """Makes and reads the tokens in links; the key comes from `Secrets.derive("tracking")`."""

    def __init__(self, key: bytes) -> None:
        self._mac = blake2b(key=key, digest_size=_MAC)

    def make(self, purpose: str, workspace: int, campaign: int, delivery: int, link: int = 0) -> str:
        """A token for one purpose (one letter) and one delivery, about 22 characters."""
        return self.token(purpose, self.ids(workspace, campaign, delivery), link)

    @staticmethod
    def ids(workspace: int, campaign: int, delivery: int) -> bytes:
        """What all tokens of one delivery have in common, for `token`: a mail has many links."""
        return b"".join(map(_varint, (workspace, campaign, delivery)))

    def token(self, purpose: str, ids: bytes, link: int = 0) -> str:
        """The same as `make`."""
        data = purpose.encode() + ids + _varint(link)
        mac = self._mac.copy()
        mac.update(data)
        return urlsafe_b64encode(data + mac.digest()).rstrip(b"=").decode()

    def read(self, token: str, purpose: str) -> Tracked:
        """What the token names; `InvalidToken` if it is not ours or was made for another purpose."""
        if len(token) > 80:
            raise InvalidToken("too long")
        try:
            raw = urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
        except (DecodeError, ValueError) as error:
            raise InvalidToken("not base64") from error
        data, sent = raw[:-_MAC], raw[-_MAC:]
        mac = self._mac.copy()
        mac.update(data)
        if not compare_digest(mac.digest(), sent) or data[:1] != purpose.encode():
            raise InvalidToken("wrong signature")
        workspace, campaign, delivery, link = _varints(data[1:])
        return Tracked(purpose, workspace, campaign, delivery, link)


class VerpTokens:
    """Envelope senders `b.<egress>.<provider>.<token>@<bounce host>`, and addresses to unsubscribe at by mail,
    `u.<token>@<bounce host>`; the key comes from `Secrets.derive("verp")`."""

    def __init__(self, key: bytes) -> None:
        self._mac = blake2b(key=key, digest_size=_MAC)

    def local_part(self, egress: str, provider: str, campaign: int, delivery: int) -> str:
        """A local part of at most 64 octets (RFC 5321, 4.5.3.1.1)."""
        return f"b.{egress}.{provider}.{self._make(b'', campaign, delivery)}"

    def leave(self, campaign: int, delivery: int) -> str:
        """The local part that a mail to unsubscribe goes to. Its token opens nothing else, nor another's this."""
        return f"u.{self._make(b'u', campaign, delivery)}"

    def read(self, address: str) -> tuple[int, int]:
        """(campaign, delivery) of an envelope sender of ours; `InvalidToken` for anything else."""
        parts = address.partition("@")[0].lower().split(".")
        if len(parts) != 4 or parts[0] != "b":
            raise InvalidToken("not a bounce address")
        return self.read_token(parts[3])

    def read_leave(self, address: str) -> tuple[int, int]:
        """(campaign, delivery) of an address made by `leave`; `InvalidToken` for anything else."""
        parts = address.partition("@")[0].lower().split(".")
        if len(parts) != 2 or parts[0] != "u":
            raise InvalidToken("not an address to unsubscribe at")
        return self._read(b"u", parts[1])

    def read_token(self, token: str) -> tuple[int, int]:
        """(campaign, delivery) of the token alone, as it stands in Message-ID and CFBL-Feedback-ID; `InvalidToken`."""
        return self._read(b"", token)

    def _make(self, purpose: bytes, campaign: int, delivery: int) -> str:
        data = _varint(campaign) + _varint(delivery)
        mac = self._mac.copy()
        mac.update(purpose + data)
        return b32encode(data + mac.digest()).rstrip(b"=").decode().lower()

    def _read(self, purpose: bytes, token: str) -> tuple[int, int]:
        if len(token) > 40 or not token.isascii():
            raise InvalidToken("not a token")
        token = token.upper()
        try:
            raw = b32decode(token + "=" * (-len(token) % 8))
        except (DecodeError, ValueError) as error:
            raise InvalidToken("not base32") from error
        data, sent = raw[:-_MAC], raw[-_MAC:]
        mac = self._mac.copy()
        mac.update(purpose + data)
        if not compare_digest(mac.digest(), sent):
            raise InvalidToken("wrong signature")
        values = _varints(data)
        if len(values) != 2:
            raise InvalidToken("not a delivery")
        return values[0], values[1]
