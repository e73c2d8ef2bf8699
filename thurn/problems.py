"""What a service may say no with; the edge makes it a page, a problem document (RFC 9457) or a line on a terminal."""


class Problem(Exception):
    """A request that cannot be done; the message is a sentence for a person."""


class Invalid(Problem):
    """A value that cannot be taken; `field` names it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


class Conflict(Problem):
    """The state of things does not allow it, for example a name that is taken."""


class Busy(Problem):
    """Too much of this is under way; a moment later it will do."""


class NotFound(Problem):
    """There is no such thing, at least not in this workspace."""
