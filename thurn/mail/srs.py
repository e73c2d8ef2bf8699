"""Sender rewriting scheme: a return address of ours for mail that is sent on, so that SPF passes and bounces find back.

`franz@elsewhere.example` becomes `SRS0=hash=day=elsewhere.example=franz@mail.thurn.example`; a sender another forwarder
has rewritten already becomes SRS1, which leads back to that forwarder. The hash (HMAC-SHA-256, 40 bits in base32, upper
and lower case alike for those who change it) keeps strangers from writing to the world through us; the day ends it.
After Shevek's paper, https://www.libsrs2.net/srs/srs.pdf. Pure: knows neither clock nor key.
"""

import base64
import hmac
import re
from dataclasses import dataclass

VALID_DAYS = 21  # a queue keeps mail for five days, another one may follow
_DAYS = 1024  # what two letters of base32 hold
_DIGITS = "abcdefghijklmnopqrstuvwxyz234567"
_SRS = re.compile(r"SRS[01][=+-]", re.IGNORECASE)
_SRS0 = re.compile(r"SRS0[=+-]([^=@]{8})=([^=@]{2})=([^=@]+)=([^@]+)", re.IGNORECASE)
_SRS1 = re.compile(r"SRS1[=+-]([^=@]{8})=([^=@]+)=([=+-][^@]+)", re.IGNORECASE)
_FOREIGN = re.compile(r"SRS0([=+-].+)", re.IGNORECASE)
_FOREIGN1 = re.compile(r"SRS1[=+-][^=]+=([^=@]+)=([=+-].+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Srs:
    """Rewrites with one key at one host."""

    key: bytes
    host: str

    def forward(self, sender: str, day: int) -> str:
        """The return address to use instead of `sender` on `day` (days since any fixed date). Ours stay as they are."""
        local, _, domain = sender.rpartition("@")
        if not local or domain.lower() == self.host.lower():
            return sender
        if found := _FOREIGN1.fullmatch(local):
            return self._second(found[1], found[2])
        if found := _FOREIGN.fullmatch(local):
            return self._second(domain, found[1])
        stamp = _stamp(day)
        return f"SRS0={self._hash(stamp, domain, local)}={stamp}={domain}={local}@{self.host}"

    def reverse(self, recipient: str, day: int) -> str | None:
        """Who a return address of ours leads back to; None for one we did not make or that is too old."""
        local, _, host = recipient.rpartition("@")
        if host.lower() != self.host.lower():
            return None
        if found := _SRS0.fullmatch(local):
            shown, stamp, domain, first = found.groups()
            if self._right(shown, stamp, domain, first) and _age(stamp, day) <= VALID_DAYS:
                return f"{first}@{domain}"
        elif found := _SRS1.fullmatch(local):
            shown, domain, rest = found.groups()
            if self._right(shown, domain, rest):
                return f"SRS0{rest}@{domain}"
        return None

    def _second(self, domain: str, rest: str) -> str:
        return f"SRS1={self._hash(domain, rest)}={domain}={rest}@{self.host}"

    def _hash(self, *parts: str) -> str:
        """Of the parts in lower case: some servers change the case of what they return."""
        digest = hmac.digest(
            self.key, "\0".join(part.lower() for part in parts).encode("utf-8", "surrogateescape"), "sha256"
        )
        return base64.b32encode(digest[:5]).decode().lower()

    def _right(self, shown: str, *parts: str) -> bool:
        return hmac.compare_digest(shown.lower().encode("utf-8", "surrogateescape"), self._hash(*parts).encode())


def is_srs(address: str) -> bool:
    """Whether an address looks like one that was rewritten, by whomever."""
    return _SRS.match(address) is not None


def _stamp(day: int) -> str:
    high, low = divmod(day % _DAYS, 32)
    return _DIGITS[high] + _DIGITS[low]


def _age(stamp: str, day: int) -> int:
    """Days since a stamp; it comes round after 1,024."""
    try:
        high, low = (_DIGITS.index(letter) for letter in stamp.lower())
    except ValueError:
        return _DAYS
    return (day - (high * 32 + low)) % _DAYS
