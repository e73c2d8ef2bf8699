"""Runs one of our own roles in the foreground: what the supervisor starts. Without the command line, to save memory."""

import sys
from importlib import import_module
from pathlib import Path

from thurn.settings import Settings, load_settings
from thurn.stack.processes import end_predecessors
from thurn.stack.roles import PYTHON


def run(role: str, settings: Settings) -> None:
    """Run `role` until a signal ends it. Raises KeyError for a role that is not ours."""
    import_module(PYTHON[role]).main(settings)


if __name__ == "__main__":
    end_predecessors()
    run(sys.argv[1], load_settings(Path(sys.argv[2])))
