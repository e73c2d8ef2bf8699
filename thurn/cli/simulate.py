"""Commands of the group simulate."""

import typer


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
