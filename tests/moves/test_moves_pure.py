"""Which servers may be spoken to, and which folder takes which: without a connection."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thurn.moves.copy import digest, flags_of
from thurn.moves.folders import MOST, plan
from thurn.moves.hosts import Refused, address_of, allowed, checked_fingerprint, checked_host, checked_port
from thurn.problems import Invalid
from thurn.settings import Settings

OPEN = Settings(state=Path("/nowhere"))
PRIVATE = Settings(state=Path("/nowhere"), moves_private=True)
SIMULATED = Settings(state=Path("/nowhere"), simulate=True)


@pytest.mark.parametrize(
    ("address", "public", "private", "simulated"),
    [
        ("8.8.8.8", True, True, False),
        ("2001:4860:4860::8888", True, True, False),
        ("127.0.0.1", False, False, True),
        ("::1", False, False, True),
        ("0.0.0.0", False, False, False),  # noqa: S104
        ("::", False, False, False),
        ("10.1.2.3", False, True, False),
        ("192.168.1.1", False, True, False),
        ("172.16.0.1", False, True, False),
        ("100.64.0.1", False, True, False),
        ("169.254.169.254", False, False, False),  # where clouds keep their secrets
        ("fe80::1%eth0", False, False, False),
        ("fd00::1", False, True, False),
        ("224.0.0.1", False, False, False),
        ("ff02::1", False, False, False),
        ("::ffff:127.0.0.1", False, False, True),
        ("::ffff:10.0.0.1", False, True, False),
        ("64:ff9b::7f00:1", False, True, False),
        ("64:ff9b::a9fe:a9fe", False, True, False),
        ("2002:7f00:1::1", False, True, False),
        ("::127.0.0.1", False, True, False),
        ("198.18.0.1", False, True, False),
        ("203.0.113.1", False, True, False),
    ],
)
def test_only_public_addresses_are_reached(address: str, public: bool, private: bool, simulated: bool) -> None:
    assert (allowed(OPEN, address), allowed(PRIVATE, address), allowed(SIMULATED, address)) == (
        public, private, simulated,
    )  # fmt: skip


def test_one_private_address_among_public_ones_is_enough_to_refuse() -> None:
    assert address_of(OPEN, "x.example", 993, lambda *_: ["8.8.8.8"]) == "8.8.8.8"
    with pytest.raises(Refused, match="not on the public Internet"):
        address_of(OPEN, "x.example", 993, lambda *_: ["8.8.8.8", "10.0.0.1"])
    with pytest.raises(Refused, match="no address"):
        address_of(OPEN, "x.example", 993, lambda *_: [])

    def nowhere(host: str, port: int) -> list[str]:
        raise OSError

    with pytest.raises(Refused, match="cannot be found"):
        address_of(OPEN, "x.example", 993, nowhere)


@pytest.mark.parametrize(
    ("text", "host"),
    [(" IMAP.Example.NET. ", "imap.example.net"), ("mäil.example", "xn--mil-qla.example"),
     ("[2001:db8::1]", "2001:db8::1"),
     ("192.0.2.1", "192.0.2.1"), ("localhost", "localhost")],
)  # fmt: skip
def test_a_host_is_kept_in_one_form(text: str, host: str) -> None:
    assert checked_host(text) == host


@pytest.mark.parametrize(
    "text", ["", "https://x.example", "x.example:993", "a b.example", "-x.example", "x..example", "2130706433", "127.1",
             "x.example\r\nA LOGOUT", "ü" * 300, "a" * 64 + ".example", "\0", "x.example/..", "@x.example"],
)  # fmt: skip
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        checked_host(text)


def test_ports_and_fingerprints() -> None:
    assert [checked_port(OPEN, port) for port in (993, 143)] == [993, 143]
    for port in (25, 0, -1, 6379, 70_000):
        with pytest.raises(Invalid):
            checked_port(OPEN, port)
    assert checked_fingerprint("AB:" * 31 + "CD") == "ab" * 31 + "cd"
    for text in ("ab", "g" * 64, "ab" * 33):
        with pytest.raises(Invalid):
            checked_fingerprint(text)


def planned(*names: str, flags: tuple[bytes, ...] = (), sep: bytes | None = b"/", **more: object) -> dict[str, str]:
    found, _ = plan([(flags, sep, name) for name in names], **more)  # type: ignore[arg-type]
    return {folder.source: folder.target for folder in found}


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("INBOX", "INBOX"), ("inbox", "INBOX"), ("Gesendete Elemente", "Sent"), ("Éléments envoyés", "Sent"),
        ("ENTWÜRFE", "Drafts"), ("Corbeille", "Trash"), ("Spam", "Junk"), ("Archiv", "Archive"),
        ("Kunden/Spam", "Kunden.Spam"), ("a.b", "a_b"), ("Kunden/2.0/x", "Kunden.2_0.x"), ("/", "_._"),
        ("../../etc", "__.__.etc"), ("x\r\ny", "x__y"), ("~root", "_root"), ("a*b%", "a_b_"),
    ],
)  # fmt: skip
def test_a_folder_finds_its_place(name: str, target: str) -> None:
    assert planned(name) == {name: target}


def test_attributes_go_before_names_and_views_are_left_out() -> None:
    assert planned("Ausgang", flags=(b"\\HasNoChildren", b"\\Sent")) == {"Ausgang": "Sent"}
    assert planned("Closed", flags=(b"\\Noselect",)) == {}
    folders, left = plan([((b"\\All",), b"/", "[Gmail]/All Mail"), ((), b"/", "#shared/x")], foreign=["#shared/"])
    assert folders == []
    assert [each.source for each in left] == ["[Gmail]/All Mail", "#shared/x"]


def test_the_prefix_of_ones_own_folders_is_taken_off() -> None:
    assert planned("INBOX", "INBOX.Sent", "INBOX.Kunden", sep=b".") == {
        "INBOX": "INBOX", "INBOX.Sent": "Sent", "INBOX.Kunden": "Kunden",
    }  # fmt: skip
    assert planned("INBOX", "INBOX/Kunden", "Other") == {
        "INBOX": "INBOX", "INBOX/Kunden": "INBOX.Kunden", "Other": "Other",
    }  # fmt: skip
    assert planned("Mail/Sent", prefix="Mail/") == {"Mail/Sent": "Sent"}


def test_folders_without_end_are_cut_off_and_said_so() -> None:
    folders, left = plan([((), b"/", f"f{n}") for n in range(MOST + 9)])
    assert (len(folders), len(left)) == (MOST, 1)


@given(st.text(max_size=400), st.sampled_from([b"/", b".", b"\\", None]))
def test_any_name_becomes_one_a_maildir_can_have(name: str, separator: bytes | None) -> None:
    for target in planned(name, sep=separator).values():
        assert 0 < len(target.encode("utf-8", "surrogatepass")) <= 200
        assert not target.startswith(".") and not target.endswith(".") and ".." not in target  # noqa: PT018
        assert target.isprintable() or not set(target) & {"\r", "\n", "\0", "/"}


def test_flags_within_reason() -> None:
    given = [b"\\Seen", b"\\Recent", b"$Forwarded", b"bad flag", b"x" * 99, 7, *(b"k%d" % n for n in range(90))]
    kept = flags_of(given)
    assert kept[:2] == [b"\\Seen", b"$Forwarded"]
    assert len(kept) == 21
    assert b"\\Recent" not in kept


def test_a_message_is_the_same_however_its_lines_end() -> None:
    assert digest(b"a\r\nb\n") == digest(b"a\nb\r\n") != digest(b"ab")
