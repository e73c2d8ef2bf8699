"""Fixtures of the tests beside this file."""

from warmupworld import clock, in_pool, world

__all__ = ["clock", "in_pool", "world"]
