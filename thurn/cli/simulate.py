"""`thurn simulate`: the simulated internet in the foreground."""

import typer

from thurn.cli.common import State, fail
from thurn.settings import allocate_ports, load_settings


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command("simulate")(simulate)


def simulate(state: State = None) -> None:
    """Run the simulated internet: providers, readers and DNS on loopback, for demo, tests and benchmarks."""
    try:
        from thurn.simulate.service import main  # its libraries are an extra of the package
    except ImportError as error:
        fail(f"The simulated internet needs {error.name}, which is not installed: pip install 'thurn[simulate]'.")
    settings = load_settings(state)
    settings.state.mkdir(parents=True, exist_ok=True)
    allocate_ports(settings)
    try:
        main(settings)
    except OSError as error:
        fail(f"The simulated internet cannot start: {error}. Perhaps it runs already: see `thurn status`.")
