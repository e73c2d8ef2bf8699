"""Return addresses of mail that is sent on: they lead back, and nobody else can make one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thurn.mail.srs import VALID_DAYS, Srs, is_srs

OURS = Srs(b"a key", "mail.thurn.example")
OTHER = Srs(b"another key", "relay.other.example")

ATOM = st.text("abcXYZ019!#$&'*+-/=?^_`{|}~.", min_size=1, max_size=40)
HOST = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?(\.[a-z0-9]{2,10}){1,3}", fullmatch=True)
SENDER = st.builds("{}@{}".format, ATOM, HOST)
DAYS = st.integers(0, 10**6)


@given(SENDER, DAYS, st.integers(0, VALID_DAYS))
def test_a_return_address_leads_back_while_it_is_valid(sender: str, day: int, later: int) -> None:
    away = OURS.forward(sender, day)
    assert away.endswith("@mail.thurn.example")
    assert OURS.reverse(away, day + later) == sender or is_srs(sender)


@given(SENDER, DAYS, st.integers(VALID_DAYS + 1, 1023))
def test_it_ends(sender: str, day: int, later: int) -> None:
    if not is_srs(sender):
        assert OURS.reverse(OURS.forward(sender, day), day + later) is None


@given(SENDER, DAYS)
def test_upper_and_lower_case_are_alike_for_who_changes_them(sender: str, day: int) -> None:
    if not is_srs(sender):
        back = OURS.reverse(OURS.forward(sender, day).upper(), day)
        assert back is not None
        assert back.lower() == sender.lower()


@given(SENDER, SENDER, DAYS)
def test_nobody_makes_one_without_the_key(sender: str, victim: str, day: int) -> None:
    if is_srs(sender) or is_srs(victim):
        return
    assert OURS.reverse(Srs(b"guessed", OURS.host).forward(sender, day), day) is None
    local, _, domain = victim.rpartition("@")
    made = OURS.forward(sender, day).split("=")
    assert (
        sender.lower() == victim.lower()
        or OURS.reverse("=".join([*made[:3], domain, f"{local}@{OURS.host}"]), day) is None
    )


@given(st.text(max_size=200), DAYS)
def test_whatever_comes_gets_an_answer(text: str, day: int) -> None:
    assert OURS.reverse(text, day) is None
    assert OURS.reverse(f"{text}@{OURS.host}", day) is None
    assert isinstance(OURS.forward(text, day), str)


def test_a_chain_of_forwarders_leads_back_by_the_first() -> None:
    first = OTHER.forward("franz@elsewhere.example", 7)
    second = OURS.forward(first, 7)
    assert second.startswith("SRS1=")
    assert OURS.reverse(second, 7) == first
    third = Srs(b"third", "third.example").forward(second, 7)
    assert third.startswith("SRS1=")
    assert "elsewhere.example=franz" in third
    assert "mail.thurn.example" not in third, "the one in the middle is left out"
    assert Srs(b"third", "third.example").reverse(third, 7) == first


@pytest.mark.parametrize("sender", ["", "<>", "postmaster", "@elsewhere.example"])
def test_what_is_no_sender_stays(sender: str) -> None:
    assert OURS.forward(sender, 1) == sender


def test_ours_is_not_rewritten_again() -> None:
    away = OURS.forward("franz@elsewhere.example", 1)
    assert OURS.forward(away, 2) == away
