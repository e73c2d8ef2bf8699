"""Commands of the group accounts."""

import typer


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
