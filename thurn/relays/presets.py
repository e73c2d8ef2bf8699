"""Servers people relay by, as data."""

import tomllib
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple


class Preset(NamedTuple):
    """What to enter for one of them."""

    key: str
    name: str
    host: str
    port: int
    security: str
    username: str
    hint: str
    source: str  # their documentation


@lru_cache(maxsize=1)
def presets() -> dict[str, Preset]:
    """By key, in the order they are offered."""
    data = tomllib.loads(files("thurn.relays").joinpath("presets.toml").read_text("utf-8"))
    return {key: Preset(key, **{"username": "", **values}) for key, values in data.items()}
