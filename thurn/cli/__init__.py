"""The `thurn` command: one file per group of commands, each with a `register(app)`."""

from importlib import import_module

import typer

GROUPS = ["stack", "accounts", "mailhost", "audience", "campaigns", "simulate", "feedback"]


def build() -> typer.Typer:
    """The whole command."""
    app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
    for group in GROUPS:
        import_module(f"thurn.cli.{group}").register(app)
    return app


def main() -> None:
    """Entry point of the console script."""
    build()()
