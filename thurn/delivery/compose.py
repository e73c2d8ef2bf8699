"""From a compiled campaign and one delivery to the bytes that are handed over."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.header import Header as EncodedHeader
from email.utils import formataddr, formatdate
from functools import cached_property

from thurn.content.program import Program, RenderError
from thurn.mail.dkim import Header, Signer, sign_message
from thurn.mail.tokens import TrackingTokens, VerpTokens


class Unsendable(ValueError):
    """This delivery can't be made into a mail; the text says why, for the operator."""


@dataclass(frozen=True, slots=True)
class Letter:
    """What is handed over: the envelope and the message, ready for BDAT."""

    sender: bytes
    recipient: bytes
    data: bytes


@dataclass(frozen=True, slots=True)
class Sender:
    """Who a campaign comes from, and where its mail may come back to."""

    name: str
    address: str
    reply_to: str
    bounce_host: str


class Urls:
    """The links of one delivery. Signed only when asked for, and once: not every mail has every link, most have it in
    two parts."""

    def __init__(self, base: str, tokens: TrackingTokens, workspace: int, campaign: int, delivery: int) -> None:
        self._base = base
        self._tokens = tokens
        self._ids = tokens.ids(workspace, campaign, delivery)
        self._clicks: dict[int, str] = {}

    @cached_property
    def open(self) -> str:
        """The pixel."""
        return f"{self._base}/o/{self._tokens.token('o', self._ids)}"

    @cached_property
    def unsubscribe(self) -> str:
        """The one-click address, also the page behind the link in the mail."""
        return f"{self._base}/u/{self._tokens.token('u', self._ids)}"

    def click(self, number: int) -> str:
        """The redirect to link `number` of the campaign."""
        url = self._clicks.get(number)
        if url is None:
            url = self._clicks[number] = f"{self._base}/c/{self._tokens.token('c', self._ids, number)}"
        return url


def encoded(text: str) -> str:
    """A header value: as it is if ASCII, else encoded words (RFC 2047)."""
    return text if text.isascii() else EncodedHeader(text, "utf-8", maxlinelen=70).encode(linesep="\r\n")


class Composer:
    """Everything constant about a campaign's mail, prepared once; `compose` fills in one recipient."""

    def __init__(
        self,
        *,
        workspace: int,
        campaign: int,
        sender: Sender,
        program: Program,
        signers: Sequence[Signer],
        base_url: str,
        tracking: TrackingTokens,
        verp: VerpTokens,
    ) -> None:
        self._workspace, self._campaign = workspace, campaign
        self._sender, self._program, self._signers = sender, program, signers
        self._base_url, self._tracking, self._verp = base_url, tracking, verp
        self._domain = sender.address.rpartition("@")[2].lower()
        boundary = f"=_{workspace}.{campaign}.thurn"  # "=_" never stands in quoted-printable (RFC 2045, 6.7)
        part = "Content-Type: text/{}; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        self._before_text = f"--{boundary}\r\n{part.format('plain')}".encode()
        self._before_html = f"\r\n--{boundary}\r\n{part.format('html')}".encode()
        self._after_html = f"\r\n--{boundary}--\r\n".encode()
        name = formataddr((encoded(sender.name), sender.address)) if sender.name else sender.address
        constant = [
            Header.of("From", name),
            Header.of("MIME-Version", "1.0"),
            Header.of("Content-Type", f'multipart/alternative; boundary="{boundary}"'),
            Header.of("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
            Header.of("List-ID", f"<{campaign}.{workspace}.lists.{self._domain}>"),
            Header.of("Feedback-ID", f"{campaign}:{workspace}:campaign:{self._domain}"),
            # RFC 9477: where a provider may report complaints to. The host is below the From domain, which signs.
            Header.of("CFBL-Address", f"fbl@{sender.bounce_host}; report=arf"),
        ]
        if sender.reply_to:
            constant.append(Header.of("Reply-To", sender.reply_to))
        self._constant = constant

    def compose(
        self, delivery: int, recipient: str, provider: str, fields: Mapping[str, str], egress: str = "e1"
    ) -> Letter:
        """The mail of one delivery by one egress; `Unsendable` if the address or a value does not allow one."""
        if not recipient.isascii():
            raise Unsendable("The address has characters outside ASCII, which needs SMTPUTF8.")
        if any(c <= " " or c in '<>"\\\x7f' for c in recipient):
            raise Unsendable("The address has characters that can't stand in an envelope.")
        urls = Urls(self._base_url, self._tracking, self._workspace, self._campaign, delivery)
        try:
            body = self._program.render({**fields, "email": recipient}, urls)
        except RenderError as error:
            raise Unsendable(f"The template can't be filled in for this contact: {error}") from error
        local = self._verp.local_part(egress, provider, self._campaign, delivery)
        envelope = f"{local}@{self._sender.bounce_host}"
        token = local.rpartition(".")[2]
        leave = f"{self._verp.leave(self._campaign, delivery)}@{self._sender.bounce_host}"
        now = int(time.time())
        headers = [
            *self._constant,
            Header.of("To", recipient),
            Header.of("Subject", encoded(body.subject)),
            Header.of("Date", formatdate(now)),
            # The same at every attempt, so that a reader's program can tell two copies are one mail.
            Header.of("Message-ID", f"<{token}@{self._domain}>"),
            # By HTTPS with one click (RFC 8058), by mail for programs that know only that (RFC 2369).
            Header.of("List-Unsubscribe", f"<{urls.unsubscribe}>,\r\n <mailto:{leave}?subject=unsubscribe>"),
            Header.of("CFBL-Feedback-ID", token),
        ]
        data = b"".join((self._before_text, body.text, self._before_html, body.html, self._after_html))
        signatures = sign_message(self._signers, headers, data, now)
        raw = b"".join([h.raw for h in headers])
        return Letter(envelope.encode(), recipient.encode(), b"%b%b\r\n%b" % (signatures, raw, data))
