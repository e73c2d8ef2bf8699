"""Previews on their way to an <iframe>: a page's policy forbids inline styles, so a mail is a document of its own.

A preview is a file of the state directory, named by workspace, account and a random token; the newest few are kept.
"""

import re
import secrets
from pathlib import Path

from thurn.settings import Settings

KEPT = 4  # per account: the page may still show the one before

# Nothing runs and nothing is sent anywhere; images load, as they do in a mail program.
HEADERS = {
    "Content-Security-Policy": "sandbox; default-src 'none'; img-src https: data:; style-src 'unsafe-inline'; "
    "frame-ancestors 'self'",
    "X-Frame-Options": "SAMEORIGIN",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
}


def keep(settings: Settings, workspace: int, account: int, html: str) -> str:
    """Keep a preview and return its token; older ones of the account go."""
    folder = _folder(settings)
    folder.mkdir(parents=True, exist_ok=True)
    token = secrets.token_urlsafe(16)
    (folder / f"{workspace}-{account}-{token}.html").write_text(html, encoding="utf-8", errors="replace")
    own = sorted(folder.glob(f"{workspace}-{account}-*.html"), key=_age, reverse=True)
    for old in own[KEPT:]:
        old.unlink(missing_ok=True)
    return token


def find(settings: Settings, workspace: int, account: int, token: str) -> str | None:
    """The preview of that token, if it is this account's and still kept."""
    path = _folder(settings) / f"{workspace}-{account}-{token}.html"
    if not re.fullmatch(r"[\w-]{1,64}", token) or not path.is_file():
        return None
    return path.read_text(encoding="utf-8")


def _folder(settings: Settings) -> Path:
    return settings.state / "uploads" / "previews"


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
