"""What a mail program finds in a mail: its images, its links and its way to unsubscribe."""

import re
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from html.parser import HTMLParser
from urllib.parse import urlsplit

_WEB = re.compile(r"https?://[^\s<>\"')]+")
_ANGLE = re.compile(r"<\s*(https?://[^>\s]+)\s*>", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Links:
    """URLs of a mail, in order, each once."""

    images: tuple[str, ...]
    links: tuple[str, ...]  # of the content: without those that unsubscribe
    leaving: tuple[str, ...]  # links of the content that unsubscribe, and the URL of the header
    one_click: str | None  # the header's URL, where RFC 8058 lets a mail program post to it


class _Finder(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.images: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "img":
            self.images.append(values.get("src") or "")
        elif tag == "a":
            self.links.append(values.get("href") or "")


def _web(urls: list[str]) -> list[str]:
    return [url for url in dict.fromkeys(url.strip() for url in urls) if url.startswith(("http://", "https://"))]


def _body(mail: EmailMessage, kind: str) -> str:
    part = mail.get_body((kind,))
    if part is None:
        return ""
    try:
        content = part.get_content()
    except (LookupError, UnicodeError):  # a charset there is not
        return ""
    return content if isinstance(content, str) else ""


def _signed(mail: EmailMessage) -> set[str]:
    """Names of header fields that a DKIM signature of the mail covers."""
    names: set[str] = set()
    for signature in mail.get_all("DKIM-Signature", []):
        tags = dict(tag.strip().partition("=")[::2] for tag in re.sub(r"\s", "", str(signature)).split(";"))
        names.update(tags.get("h", "").lower().split(":"))
    return names


def find_links(raw: bytes) -> Links:
    """Parse a mail as it was received; whatever is broken in it is as if it were not there."""
    mail = message_from_bytes(raw, policy=policy.default)
    assert isinstance(mail, EmailMessage)  # noqa: S101  # policy.default makes one
    finder = _Finder()
    html = _body(mail, "html")
    finder.feed(html)
    links = _web(finder.links) if html else _web(_WEB.findall(_body(mail, "plain")))
    header = _ANGLE.search(str(mail.get("List-Unsubscribe", "")))
    leave = header[1] if header else None
    # The link in the body is made like the header's: same host, same first part of the path.
    like = _place(leave) if leave else None
    leaving = [url for url in links if like is not None and _place(url) == like]
    one_click = None
    if leave and "list-unsubscribe=one-click" in str(mail.get("List-Unsubscribe-Post", "")).replace(" ", "").lower():
        # RFC 8058, 4: only where a signature covers both fields.
        one_click = leave if {"list-unsubscribe", "list-unsubscribe-post"} <= _signed(mail) else None
    return Links(
        images=tuple(_web(finder.images)),
        links=tuple(url for url in links if url not in leaving),
        leaving=tuple(dict.fromkeys([*leaving, *([leave] if leave else [])])),
        one_click=one_click,
    )


def _place(url: str) -> tuple[str, str]:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "", url
    return parts.netloc, parts.path.lstrip("/").partition("/")[0]
