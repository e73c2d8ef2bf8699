"""The revision of the schema that this code expects, without what changes it: that is large, and few need it."""

from pathlib import Path

_VERSIONS = Path(__file__).parent / "migrations" / "versions"


def newest() -> str:
    """The same as `thurn.db.migrate.newest_revision`: files are named by their revision, and each follows the last."""
    return max(path.name.partition("_")[0] for path in _VERSIONS.glob("[0-9]*.py"))
