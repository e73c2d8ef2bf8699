"""When it does not work: a page in plain words for people, a problem document (RFC 9457) for programs."""

import secrets
from html import escape
from http import HTTPStatus
from importlib import import_module
from typing import Any
from urllib.parse import quote

import psycopg
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests
from starlette.exceptions import HTTPException

from thurn.problems import Busy, Conflict, Invalid, NotFound, Problem
from thurn.web.edge import CsrfRefused, SignInNeeded, in_portal

log = structlog.get_logger()

DATABASE_DOWN = "The database did not answer. Nothing you saved is lost."
_TEXTS = {
    400: "The request could not be read.",
    403: "You may not do that here.",
    404: "There is no such page. The address may be mistyped, or what it showed is gone.",
    405: "This address does not work that way.",
    413: "That is too much at once.",
    422: "Something in the form could not be read. Go back and look at its fields.",
    429: "Too many requests. Wait a moment.",
    500: "Thurn made a mistake. What you did last may not be saved; trying again is safe.",
    503: DATABASE_DOWN,
}
_TITLES = {403: "Not allowed", 404: "Not found", 413: "Too large", 500: "A fault", 503: "Not available right now"}
CSRF_TEXT = (
    "This page was open for too long, or you signed in again since. Nothing was changed. Go back, reload the page and "
    "do it again."
)


def is_api(request: Request) -> bool:
    """Whether a program asks."""
    return request.url.path.startswith("/api/")


def answer(
    request: Request, status: int, text: str = "", *, headers: dict[str, str] | None = None, **more: Any
) -> Response:
    """The answer to a request that failed: for programs, for a fragment of a page, for a person."""
    text = text or _TEXTS.get(status) or HTTPStatus(status).phrase
    if is_api(request):
        body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": text, **more}
        return JSONResponse(body, status, headers, media_type="application/problem+json")
    if request.headers.get("hx-request"):
        return HTMLResponse(f'<p class="note" role="alert">{escape(text)}</p>', status, headers)
    return _error_page(request, status, _TITLES.get(status, HTTPStatus(status).phrase), text, headers)


def _error_page(request: Request, status: int, title: str, text: str, headers: dict[str, str] | None) -> Response:
    try:
        render = import_module("thurn.web.render")
        response: Response = render.page(
            request, None, "web/error.html", status=status, code=status, heading=title, text=text
        )
        response.headers.update(headers or {})
    except Exception as error:  # noqa: BLE001 - a broken error page must not hide the error
        log.warning("error page failed", error=repr(error))
        html = (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
            f'<main><h1>{escape(title)}</h1><p>{escape(text)}</p><p><a href="/">To the start</a></p></main></html>'
        )
        return HTMLResponse(html, status, headers)
    return response


async def _http(request: Request, error: HTTPException) -> Response:
    # What the framework says by itself is not for people.
    standard = error.detail in (HTTPStatus(error.status_code).phrase, "There was an error parsing the body")
    headers = dict(error.headers) if error.headers else None
    more: dict[str, Any] = getattr(error, "more", {})  # of schemas.HttpProblem
    return answer(request, error.status_code, "" if standard else error.detail, headers=headers, **more)


async def _invalid_request(request: Request, error: RequestValidationError) -> Response:
    found = [{"field": _field(item["loc"]), "message": item["msg"]} for item in error.errors()]
    if any(item["type"] == "json_invalid" for item in error.errors()):
        return answer(request, 422, "The body is not JSON.", errors=found)
    # An address like /contacts/abc names nothing: that is a 404, not a form that was filled in badly.
    if all(item["loc"][:1] == ("path",) for item in error.errors()):
        return answer(request, 404, "There is no such thing." if is_api(request) else "")
    return answer(request, 422, "Some values cannot be taken." if is_api(request) else "", errors=found)


def _field(location: tuple[int | str, ...]) -> str:
    inner = location[1:] if location[:1] in (("body",), ("query",), ("path",), ("header",)) else location
    return ".".join(map(str, inner)) or str(location[0])


async def _problem(request: Request, error: Exception) -> Response:
    if isinstance(error, Invalid):
        return answer(request, 422, error.message, errors=[{"field": error.field, "message": error.message}])
    if isinstance(error, Busy):
        return answer(request, 503, str(error), headers={"Retry-After": "2"})
    status = 404 if isinstance(error, NotFound) else 409 if isinstance(error, Conflict) else 422
    return answer(request, status, str(error))


async def _sign_in(request: Request, error: Exception) -> Response:
    """Off to /sign-in, or the portal's own, and back afterwards; back only to a path of ours that can be fetched."""
    door = "/mailbox/sign-in" if in_portal(request) else "/sign-in"
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    target = door if request.method != "GET" or path in ("/", "/mailbox") else f"{door}?next={quote(path, safe='/')}"
    if request.headers.get("hx-request"):  # a fragment cannot show the sign-in page
        return Response(status_code=401, headers={"HX-Redirect": door})
    return RedirectResponse(target, 303)


async def _csrf(request: Request, error: Exception) -> Response:
    return answer(request, 403, CSRF_TEXT)


async def _database_down(request: Request, error: Exception) -> Response:
    log.warning("database did not answer", path=request.url.path, error=str(error))
    return answer(request, 503, headers={"Retry-After": "5"})


async def _bad_data(request: Request, error: Exception) -> Response:
    """PostgreSQL cannot hold the value: a NUL in a text, a number beyond its type."""
    log.info("value refused by the database", path=request.url.path, error=str(error))
    return answer(request, 422, "A value holds characters or a number that cannot be stored.")


async def _conflict(request: Request, error: Exception) -> Response:
    log.info("refused by a constraint", path=request.url.path, error=str(error))
    return answer(request, 409, "That conflicts with something that is there already, or is still in use.")


async def _fault(request: Request, error: Exception) -> Response:
    number = secrets.token_hex(4)
    log.error("unhandled", path=request.url.path, method=request.method, fault=number, exc_info=error)
    return answer(request, 500, f"{_TEXTS[500]} In the log it is fault {number}.")


def install(app: FastAPI) -> None:
    """Register the answers."""
    app.exception_handler(HTTPException)(_http)
    app.exception_handler(RequestValidationError)(_invalid_request)
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(SignInNeeded, _sign_in)
    app.add_exception_handler(CsrfRefused, _csrf)
    for down in (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout, PoolClosed, TooManyRequests):
        app.add_exception_handler(down, _database_down)
    app.add_exception_handler(psycopg.DataError, _bad_data)
    app.add_exception_handler(UnicodeEncodeError, _bad_data)
    app.add_exception_handler(psycopg.IntegrityError, _conflict)
    app.add_exception_handler(Exception, _fault)
