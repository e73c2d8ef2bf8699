"""Why there is no certificate, in words: Caddy writes down what the authority said. Pure but for reading its log."""

import json
from pathlib import Path

_END = 512 * 1024  # bytes of the log that are looked at

_ELSEWHERE = (
    "The authority reached another server under this name. See that every A and AAAA record of it leads here; an AAAA "
    "record that was forgotten is the most common cause."
)
_SILENT = "The authority does not answer. Is outgoing HTTPS blocked in a firewall?"

# What stands in an error (RFC 8555, 6.7, and Go's own words) -> what happened and what to do. The first that fits.
_EXPLAINED = {
    "error:rateLimited": "The authority has been asked too often for this name. It lifts that by itself within hours.",
    "error:caa": "A CAA record in DNS forbids this authority. Allow it there, or remove the record.",
    "error:dns": "The authority found no address for this name in DNS, or DNS did not answer. Point the name here.",
    "error:connection": "The authority could not reach this server under this name. Ports 80 and 443 must be open, "
    "also in the firewall of whoever rents out the server.",
    "error:tls": "Something in front of this server ends TLS, or the authority reached another server under this name.",
    "error:unauthorized": _ELSEWHERE,
    "error:incorrectResponse": _ELSEWHERE,
    "error:rejectedIdentifier": "The authority gives no certificates for this name.",
    "error:invalidContact": "The authority does not take the address in acme_email.",
    "error:externalAccountRequired": "The authority wants an account made beforehand, which Thurn cannot use. Choose "
    "another in acme_directory.",
    "error:serverInternal": "The authority has trouble of its own. Thurn goes on trying.",
    "signed by unknown authority": "The ACME server's own certificate is not trusted. Name its root in acme_ca_root.",
    "connection refused": "The authority cannot be reached: nothing answers at the address in acme_directory.",
    "no such host": "The authority cannot be reached: its name is not found in DNS.",
    "i/o timeout": _SILENT,
    "context deadline exceeded": _SILENT,
    "no space left on device": "The disk is full.",
    "permission denied": "Caddy may not write to its folder. `thurn up` puts owners and modes right.",
}


def explain(error: str) -> str:
    """An error of Caddy's as what happened and what to do; the error itself where we do not know it."""
    for mark, words in _EXPLAINED.items():
        if mark in error:
            return words
    return f"Caddy says: {' '.join(error.split())[:400]}" if error.strip() else ""


def last_error(log: str, host: str) -> str:
    """The newest error in Caddy's log (JSON lines) about getting a certificate for the host; empty if there is none."""
    for line in reversed(log.splitlines()):
        if host not in line:
            continue
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if not isinstance(entry, dict) or not str(entry.get("logger", "")).startswith("tls"):
            continue
        if entry.get("level") == "error" and _about(entry, host):
            return str(entry.get("error", ""))
    return ""


def _about(entry: dict[str, object], host: str) -> bool:
    named = entry.get("identifier") or entry.get("identifiers")
    if named is not None:
        return host in (named if isinstance(named, list) else [named])
    return f"[{host}]" in str(entry.get("error", ""))


def reason(state: Path, host: str) -> str:
    """Why Caddy has no certificate for the host, as far as its log tells."""
    path = state / "log" / "edge.log"
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _END))
            log = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return explain(last_error(log, host))
