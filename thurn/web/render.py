"""Pages from Jinja templates: one environment, one function to make an answer.

`audience/list.html` is thurn/audience/templates/list.html; `web/…` is thurn/web/templates. Macros and what they take
are described at the top of web/templates/parts.html.
"""

import json
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from jinja2 import BaseLoader, Environment, StrictUndefined, TemplateNotFound
from starlette.requests import Request
from starlette.responses import HTMLResponse

from thurn.web import bars, icons, words

if TYPE_CHECKING:
    from thurn.web.edge import Viewer

ROOT = Path(__file__).parent.parent
STATIC = Path(__file__).parent / "static"


class FeatureLoader(BaseLoader):
    """`<feature>/x.html` is `thurn/<feature>/templates/x.html`."""

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        """Read a template; a changed file is read again."""
        feature, _, name = template.partition("/")
        path = (ROOT / feature / "templates" / name).resolve()
        if not name or not path.is_relative_to(ROOT / feature / "templates") or not path.is_file():
            raise TemplateNotFound(template)
        changed = path.stat().st_mtime_ns
        return path.read_text(), str(path), lambda: path.is_file() and path.stat().st_mtime_ns == changed


@lru_cache(maxsize=1)
def _manifest(changed: int) -> dict[str, str]:
    manifest: dict[str, str] = json.loads((STATIC / "build" / "manifest.json").read_text())
    return manifest


def asset(name: str) -> str:
    """URL of a built file, by its plain name: `app.css`. The name in the URL changes with the content."""
    try:
        changed = (STATIC / "build" / "manifest.json").stat().st_mtime_ns
    except FileNotFoundError:
        return f"/static/build/{name}"  # not built: pages work, unstyled; `frontend/build` makes it
    return f"/static/build/{_manifest(changed).get(name, name)}"


def _environment() -> Environment:
    env = Environment(
        loader=FeatureLoader(), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    env.globals.update(
        asset=asset, icon=icons.icon, shape=icons.shape, state=icons.state, tally=bars.tally, share=bars.share,
        columns=bars.columns, key=bars.key, count=words.count, rate=words.rate, LEVELS=icons.LEVELS,
        now=lambda: datetime.now().astimezone(),
    )  # fmt: skip
    env.filters.update(
        number=words.number, joined=words.joined, duration=words.duration, size=words.size, clock=words.clock,
        day=words.day, when=words.when, initials=words.initials, campaign_state=icons.CAMPAIGN_STATES.__getitem__,
        without_scheme=lambda url: url.partition("://")[2].rstrip("/") or url,
        provider=lambda name: words.PROVIDERS.get(name, name),
    )  # fmt: skip
    # Macros are there without an import, so that a block can be rendered alone.
    env.globals.update(vars(env.get_template("web/parts.html").module))
    return env


environment = _environment()


def is_fragment(request: Request) -> bool:
    """Whether htmx asks for a part of the page, not for the page."""
    return (
        request.headers.get("hx-request") == "true" and request.headers.get("hx-request-type", "partial") == "partial"
    )


def _context(request: Request, viewer: "Viewer | None", context: dict[str, Any]) -> dict[str, Any]:
    settings = getattr(request.app.state, "settings", None)
    w = f"/w/{viewer.workspace_slug}" if viewer else ""
    below = request.url.path.removeprefix(w).strip("/") if viewer else ""
    return {
        "request": request,
        "viewer": viewer,
        "w": w,
        "section": below.partition("/")[0],
        "csrf": viewer.csrf if viewer else "",
        "host": (urlsplit(settings.base_url).hostname or settings.hostname) if settings else "",
        **context,
    }


def page(
    request: Request,
    viewer: "Viewer | None",
    template: str,
    status: int = 200,
    *,
    block: str | None = None,
    headers: dict[str, str] | None = None,
    **context: Any,
) -> HTMLResponse:
    """Answer with a template. With `block`, a request by htmx gets that block alone.

    Templates see `context` and: request, viewer (or None), w (“/w/main”), section (“campaigns”), csrf, host.
    """
    values = _context(request, viewer, context)
    if block and is_fragment(request):
        html = fragment(request, viewer, template, block, **context)
    else:
        html = environment.get_template(template).render(values)
    vary = {"Vary": "HX-Request"} if block else {}
    return HTMLResponse(html, status, headers={"Cache-Control": "no-store", **vary, **(headers or {})})


def fragment(request: Request, viewer: "Viewer | None", template: str, block: str, **context: Any) -> str:
    """One block of a template, as a swap by htmx or a server-sent event needs it."""
    loaded = environment.get_template(template)
    values = loaded.new_context(_context(request, viewer, context))
    return "".join(loaded.blocks[block](values))
