"""Opens webmail by a link, as a browser would, and looks whether the inbox is there."""

import re
import urllib.error
import urllib.request
from http.cookiejar import CookieJar

_PATIENCE = 30.0
_TOKEN = re.compile(r'"request_token":"(\w+)"')


def look(link: str, address: str, mark: str) -> str:
    """`ok` when the link opens this mailbox signed in and a subject with `mark` lies in it; else why not, in words."""
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
    base = link.partition("?")[0]
    try:
        page = _get(browser, link)
        token = _TOKEN.search(page)
        if token is None or address not in page:
            return f"the link did not open the mailbox {address}"
        for folder in ("INBOX", "Junk"):
            if mark in _get(browser, f"{base}?_task=mail&_action=list&_mbox={folder}&_remote=1", token[1]):
                return "ok"
    except (urllib.error.URLError, TimeoutError) as error:
        return f"webmail did not answer: {error}"
    return f"webmail shows no mail about “{mark}” to {address}"


def _get(browser: urllib.request.OpenerDirector, url: str, token: str = "") -> str:
    request = urllib.request.Request(url, headers={"X-Roundcube-Request": token})  # noqa: S310 - our own address
    with browser.open(request, timeout=_PATIENCE) as answer:
        text: str = answer.read().decode("utf-8", "replace")
    return text
