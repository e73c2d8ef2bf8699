"""Open, click and unsubscribe: bare Starlette routes."""

from starlette.routing import Route

routes: list[Route] = []
