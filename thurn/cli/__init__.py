"""The `thurn` command: one file per group of commands, each with a `register(app)`.

Only the group at hand is imported: a command starts in a third of the time, and a script calls many.
"""

import sys
from importlib import import_module

import typer

# Command -> the file that has it.
COMMANDS = {
    "up": "stack",
    "down": "stack",
    "status": "stack",
    "migrate": "stack",
    "run": "stack",
    "user": "accounts",
    "api-key": "accounts",
    "domain": "mailhost",
    "mailbox": "boxes",
    "alias": "boxes",
    "app-password": "boxes",
    "send-as": "rights",
    "copies": "rights",
    "quarantine": "spam",
    "spam": "spam",
    "import": "audience",
    "suppression": "suppression",
    "campaign": "campaigns",
    "certificates": "certificates",
    "webmail": "webmail",
    "simulate": "simulate",
    "feedback": "feedback",
    "reports": "reports",
    "reputation": "reputation",
    "guard": "guard",
    "shaping": "shaping",
    "trace": "trace",
    "egress": "delivery",
    "pool": "delivery",
    "provider": "delivery",
    "relay": "relays",
    "warmup": "warmup",
    "queue": "queue",
    "move": "moves",
    "feed": "feeds",
    "node": "nodes",
    "join": "nodes",
}


def build(command: str | None = None) -> typer.Typer:
    """The whole command, or only the group that has `command`."""
    app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

    @app.callback()
    def thurn() -> None:
        """Your own mail server and your own campaigns."""

    known = COMMANDS.get(command or "")
    for group in [known] if known else dict.fromkeys(COMMANDS.values()):
        import_module(f"thurn.cli.{group}").register(app)
    return app


def main() -> None:
    """Entry point of the console script."""
    build(sys.argv[1] if len(sys.argv) > 1 else None)()
