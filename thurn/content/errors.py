"""What is wrong with a template, said to the person who wrote it."""


class TemplateError(ValueError):
    """A template that cannot become a mail. `line` counts from 1; 0: the subject or the template as a whole."""

    def __init__(self, message: str, line: int = 0, *, field: str = "source") -> None:
        super().__init__(message, line)
        self.message = message
        self.line = line
        self.field = field  # source | subject

    def __str__(self) -> str:
        return f"Line {self.line}: {self.message}" if self.line else self.message


class RenderError(ValueError):
    """A template that compiles, but not for this contact: a loop or a value grew past its limit."""
