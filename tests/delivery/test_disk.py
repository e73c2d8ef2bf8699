"""A disk that is nearly full stops sending, tells the operators once, and takes it back."""

from pathlib import Path

from thurn.db.connect import Connection
from thurn.db.fetch import rows
from thurn.delivery import disk
from thurn.delivery.disk import Disk


async def test_a_full_disk_is_told_once_and_taken_back(system: Connection, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(disk, "_EVERY", -1.0)
    full = Disk(tmp_path, room=2**62)
    assert not await full.has_room(system)
    assert not await full.has_room(system)
    (alert,) = await rows(system, "SELECT subject, text, cleared_at FROM alert")
    assert alert["subject"] == "The disk is nearly full: campaigns wait"
    assert alert["cleared_at"] is None
    assert await Disk(tmp_path, room=1).has_room(system)
    (alert,) = await rows(system, "SELECT cleared_at FROM alert")
    assert alert["cleared_at"] is not None
