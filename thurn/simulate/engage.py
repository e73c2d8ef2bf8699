"""Opens and clicks: what mail programs, image proxies and link scanners request over HTTP. It reaches loopback only."""

import asyncio
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

import httpx

from thurn.simulate.behaviour import What
from thurn.simulate.links import Links

_BROWSERS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605",
    "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0 Mobile Safari/537",
    "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0",
)
_MAIL_PROGRAMS = (  # what fetches images; a browser does where mail is read on the web
    *_BROWSERS,
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Thunderbird/128.4.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
)
_APPLE_PROXY = "Mozilla/5.0"  # all that Apple's proxy says
_GOOGLE_PROXY = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
_SCANNER = "Mozilla/5.0 (compatible; LinkScanner/2.4; +https://scanner.example/about-bot)"
_ONE_CLICK = "List-Unsubscribe=One-Click"  # RFC 8058, 3.2
_TRIES = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds to wait after a request that found nobody at home


class NotLoopback(ValueError):
    """The URL leads out of this machine; the simulated internet goes nowhere."""


def only_loopback(url: str) -> None:
    """Raise `NotLoopback` unless the URL's host is a loopback address, or `localhost`."""
    try:
        host = urlsplit(url).hostname or ""
        inside = host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # a name, or no URL at all
        inside = False
    if not inside:
        raise NotLoopback(f"{url} is not on this machine")


def _inside(urls: tuple[str, ...]) -> tuple[str, ...]:
    inside = []
    for url in urls:
        try:
            only_loopback(url)
        except NotLoopback:
            continue
        inside.append(url)
    return tuple(inside)


@dataclass(frozen=True, slots=True)
class Hit:
    """A request that was made for a recipient."""

    kind: str  # open, click, unsubscribe; look: a machine fetched a page that unsubscribes, which must change nothing
    actor: str  # human, machine
    url: str
    agent: str
    ok: bool
    status: str


class Browser:
    """Makes requests: never to another machine, never through a proxy, never along a redirect."""

    def __init__(self) -> None:
        self._http = httpx.AsyncClient(
            trust_env=False, follow_redirects=False, timeout=10, limits=httpx.Limits(max_connections=20)
        )

    async def request(self, method: str, url: str, agent: str, body: str | None = None) -> tuple[bool, str]:
        """(whether it was answered with success or a redirect, status or reason). Tries again while nobody answers."""
        try:
            only_loopback(url)
        except NotLoopback as error:
            return False, str(error)
        headers = {"User-Agent": agent, "Accept": "*/*", "Accept-Language": "de-DE,de;q=0.9,en;q=0.5"}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        status = ""
        for pause in (*_TRIES, None):
            try:
                async with self._http.stream(method, url, headers=headers, content=body) as response:
                    status = str(response.status_code)
                    if response.status_code < 500:
                        return response.status_code < 400, status
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                status = type(error).__name__
            if pause is None:
                break
            await asyncio.sleep(pause)
        return False, status

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


class Reader:
    """Takes the steps of a recipient's mail program for one mail, as if nothing but this machine's URLs stood in it."""

    def __init__(self, browser: Browser, links: Links, number: int) -> None:
        self._browser = browser
        self._images, self._content = _inside(links.images), _inside(links.links)
        self._links = links
        self._browser_agent = _BROWSERS[number % len(_BROWSERS)]
        self._mail_agent = _MAIL_PROGRAMS[number % len(_MAIL_PROGRAMS)]

    async def _hit(
        self, kind: str, actor: str, url: str, agent: str, method: str = "GET", body: str | None = None
    ) -> Hit:
        ok, status = await self._browser.request(method, url, agent, body)
        return Hit(kind, actor, url, agent, ok, status)

    async def _fetch(self, actor: str, agent: str) -> list[Hit]:
        return [await self._hit("open", actor, url, agent) for url in self._images]

    async def _scan(self, agent: str, methods: tuple[str, ...]) -> list[Hit]:
        """Every link of the mail within moments, those that unsubscribe among them."""
        targets = [("click", url) for url in self._content] + [("look", url) for url in _inside(self._links.leaving)]

        async def visit(kind: str, url: str) -> list[Hit]:
            return [await self._hit(kind, "machine", url, agent, method) for method in methods]

        return [hit for hits in await asyncio.gather(*(visit(*target) for target in targets)) for hit in hits]

    async def take(self, what: What, detail: str) -> list[Hit]:
        """Do it; which requests were made. A mail without what it takes (an image, a link) gives none."""
        match what:
            case "open":
                return await self._fetch("human", self._mail_agent)
            case "open-proxied":
                return await self._fetch("human", _GOOGLE_PROXY)
            case "prefetch":
                return await self._fetch("machine", _APPLE_PROXY)
            case "scan":
                return await self._scan(_SCANNER, ("HEAD", "GET")) + await self._fetch("machine", _SCANNER)
            case "scan-as-browser":
                return await self._scan(_BROWSERS[0], ("GET",))
            case "click":
                if not self._content:
                    return []
                chosen = self._content[int(float(detail or 0) * len(self._content))]
                return [await self._hit("click", "human", chosen, self._browser_agent)]
            case "unsubscribe":
                url = self._links.one_click
                if url is None:
                    why = "no signed one-click header"
                    return [Hit("unsubscribe", "human", "", self._browser_agent, ok=False, status=why)]
                return [await self._hit("unsubscribe", "human", url, self._browser_agent, "POST", _ONE_CLICK)]
        return []
