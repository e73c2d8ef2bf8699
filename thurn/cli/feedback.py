"""Commands of the group feedback."""

import typer


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
