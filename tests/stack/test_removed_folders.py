"""What `keeper` removes of a removed mailbox, as root: its folder and nothing else."""

import os
from pathlib import Path

import pytest

from thurn.stack.removed import remove


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Where all mail is."""
    mail = tmp_path / "state" / "mail"
    mail.mkdir(parents=True)
    return mail


@pytest.mark.parametrize(
    "name", ["", "x", "/", "a/", "/b", "../b", "a/..", "a/b/c", "./b", "a/.", "a\0/b", "a/../../b"]
)
def test_nothing_but_a_mailboxs_folder_is_ever_removed(store: Path, name: str) -> None:
    (store / "a" / "b").mkdir(parents=True)
    (store.parent / "b").mkdir()
    with pytest.raises(OSError, match="not a mailbox's folder"):
        remove(store, name)
    assert (store / "a" / "b").exists()
    assert (store.parent / "b").exists()


def test_links_lead_nowhere(store: Path, tmp_path: Path) -> None:
    (tmp_path / "anna.1").mkdir()
    (tmp_path / "precious").write_text("x")
    (store / "linked").symlink_to(tmp_path)
    with pytest.raises(OSError):  # noqa: PT011 - the kernel's word
        remove(store, "linked/anna.1")
    (store / "brotzeit.example" / "anna.1").mkdir(parents=True)
    (store / "brotzeit.example" / "anna.1" / "Maildir").symlink_to(tmp_path)
    os.symlink(tmp_path, store / "brotzeit.example" / "anna.2")
    remove(store, "brotzeit.example/anna.1")
    with pytest.raises(OSError):  # noqa: PT011
        remove(store, "brotzeit.example/anna.2")
    assert (tmp_path / "precious").exists()
    assert (tmp_path / "anna.1").exists()
    remove(store, "brotzeit.example/nobody.3")
    remove(store, "nowhere.example/anna.1")
