"""Commands of the group mailhost."""

import typer


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
