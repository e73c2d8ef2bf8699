"""Commands of the group campaigns."""

import typer


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
