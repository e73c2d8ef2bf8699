"""Who a server must be before a password goes to it: signed by an authority for its name, or one certificate alone."""

import hashlib
import hmac
import ssl


def client_context(fingerprint: str = "") -> ssl.SSLContext:
    """TLS 1.2 and up. With a `fingerprint` nothing is checked during the handshake: ask `stranger` before all else."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if fingerprint:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def stranger(sock: object, fingerprint: str) -> str:
    """The SHA-256 (hex) of the certificate shown, if a `fingerprint` is given and it is another; else empty."""
    if not fingerprint:
        return ""
    shown = sock.getpeercert(binary_form=True) if isinstance(sock, ssl.SSLSocket) else None
    seen = hashlib.sha256(shown or b"").hexdigest()
    return "" if hmac.compare_digest(seen, fingerprint) else seen
