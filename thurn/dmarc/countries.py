"""The country of an address, from a database file on this machine, where the operator has put one. Nobody is asked."""

from functools import lru_cache
from pathlib import Path

import maxminddb

from thurn.dmarc.sources import Source
from thurn.settings import Settings


def configured(settings: Settings) -> bool:
    """Whether countries can be told."""
    return settings.country_database is not None and settings.country_database.is_file()


@lru_cache(maxsize=1)
def _reader(path: Path, changed: int) -> maxminddb.Reader:
    return maxminddb.open_database(path, maxminddb.MODE_MMAP)


def country(settings: Settings, ip: str) -> str:
    """Two letters of ISO 3166, empty where the file does not say or is none."""
    path = settings.country_database
    if path is None:
        return ""
    try:
        said = _reader(path, path.stat().st_mtime_ns).get(ip)
        found = said.get("country") if isinstance(said, dict) else None
        code = found.get("iso_code") if isinstance(found, dict) else found  # MaxMind and DB-IP; IPinfo has it flat
    except (OSError, ValueError, maxminddb.InvalidDatabaseError):
        return ""
    return code if isinstance(code, str) and len(code) == 2 and code.isascii() else ""


def fill(settings: Settings, source: Source) -> None:
    """The countries of a source's servers."""
    for address in source.addresses:
        address.country = country(settings, address.ip)
