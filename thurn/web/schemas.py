"""What every feature's JSON API shares: values that can be stored, pages with a cursor, problem documents."""

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from thurn.problems import Invalid


def _storable(text: str) -> str:
    """PostgreSQL holds neither NUL nor half a surrogate pair; JSON can say both."""
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError("holds a character that cannot be stored (NUL, or half of a surrogate pair)")
    return text


Text = Annotated[str, AfterValidator(_storable)]
ShortText = Annotated[Text, Field(max_length=1000)]
Id = Annotated[int, Path(ge=1, le=2**31 - 1, description="The number it was made with.")]
BigId = Annotated[int, Path(ge=1, le=2**63 - 1, description="The number it was made with.")]
Name = Annotated[Text, Path(min_length=1, max_length=320)]
Limit = Annotated[int, Query(ge=1, le=200, description="How many at most.")]
Cursor = Annotated[
    str | None, Query(max_length=400, description="`next` of the page before, to get the one that follows it.")
]


class In(BaseModel):
    """A body: unknown members are refused, so that a misspelt one is noticed."""

    model_config = ConfigDict(extra="forbid")


class Out(BaseModel):
    """An answer, made from a row."""

    model_config = ConfigDict(from_attributes=True)


class FieldProblem(BaseModel):
    """What is wrong with one value."""

    field: str
    message: str


class ProblemOut(BaseModel):
    """A problem document (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str = Field(description="What happened, in a sentence for a person.")
    errors: list[FieldProblem] | None = None


class HttpProblem(HTTPException):
    """A problem with members of its own."""

    def __init__(self, status: int, detail: str, **more: Any) -> None:
        super().__init__(status, detail)
        self.more = more


_DESCRIBED = {
    400: "The body is not what its Content-Type says, for example no UTF-8.",
    401: "No API key, or one that is not valid.",
    404: "There is no such thing in this workspace.",
    409: "The state of things does not allow it.",
    413: "The body is too large.",
    422: "A value cannot be taken; `errors` names the fields.",
    503: "The database did not answer.",
}
_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemOut"}}}
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"description": text, "model": ProblemOut, "content": _PROBLEM} for status, text in _DESCRIBED.items()
}
HOUSE_ONLY: dict[int | str, dict[str, Any]] = {
    403: {"description": "The key is of another workspace than “main”.", "model": ProblemOut, "content": _PROBLEM}
}


def api_router(tag: str) -> APIRouter:
    """A router of the JSON API: its routes are named in the OpenAPI document after their functions."""
    return APIRouter(tags=[tag], responses=RESPONSES, generate_unique_id_function=lambda route: route.name)


def number_of(cursor: str | None) -> int | None:
    """The id a cursor stands for; `Invalid` for one we did not give."""
    if cursor is None:
        return None
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > 18:
        raise Invalid("cursor", "Give `next` of the page before as it came.")
    return int(cursor)


def text_of(cursor: str | None) -> str | None:
    """The text a cursor stands for; `Invalid` for one that cannot be."""
    if cursor is not None and "\0" in cursor:
        raise Invalid("cursor", "Give `next` of the page before as it came.")
    return cursor
