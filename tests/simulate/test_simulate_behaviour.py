"""What a simulated recipient does depends on its address and the seed, and on nothing else."""

from collections import Counter

import pytest

from thurn.simulate.behaviour import FORCED, OPENS, behaviour
from thurn.simulate.replies import refusal
from thurn.simulate.world import DOMAINS

PEOPLE = [f"person{n}@{domain}" for n in range(1000) for domain in DOMAINS]  # 30,000


@pytest.mark.parametrize(
    "address", ["ada@gmail.example", "bob@nowhere.test", "", "@", "no-at-sign", "a@b@c", "ü@ö", "\udcff@x"]
)
def test_the_same_address_and_seed_behave_the_same_always(address: str) -> None:
    assert behaviour(address, 7) == behaviour(address, 7)


def test_case_makes_no_difference() -> None:
    assert behaviour("Ada.Lovelace@GMail.Example", 1) == behaviour("ada.lovelace@gmail.example", 1)


def test_another_seed_is_another_world() -> None:
    differing = sum(behaviour(who, 1) != behaviour(who, 2) for who in PEOPLE[:500])
    assert differing > 450


@pytest.mark.parametrize(
    ("number", "receive", "steps"),
    [
        (0, "accept", []),
        (2, "accept", ["open"]),
        (13, "accept", ["scan-as-browser", "open", "click"]),
        (24, "unknown", []),
        (41, "accept", ["scan"]),
        (58, "greylist", []),
        (69, "full", []),
        (95, "accept", ["bounce"]),
        (99, "policy", []),
        (180, "accept", ["complain"]),
        (224, "accept", ["open", "unsubscribe"]),
    ],
)
def test_a_version_to_come_behaves_like_this_one(number: int, receive: str, steps: list[str]) -> None:
    """Runs are compared with one another, over versions too."""
    how = behaviour(f"person{number}@outlook.example", 1)
    assert (how.receive, [step.what for step in how.steps]) == (receive, steps)


def test_shares_are_as_weighted() -> None:
    received = Counter(behaviour(who, 1).receive for who in PEOPLE)
    share = {kind: n / len(PEOPLE) for kind, n in received.items()}
    assert share["accept"] == pytest.approx(0.943, abs=0.01)
    assert share["greylist"] == pytest.approx(0.03, abs=0.006)
    assert share["unknown"] == pytest.approx(0.015, abs=0.004)
    assert share["full"] == pytest.approx(0.007, abs=0.003)
    assert share["policy"] == pytest.approx(0.005, abs=0.003)
    comes = Counter(step.what for who in PEOPLE for step in behaviour(who, 1).steps)
    assert comes["bounce"] / len(PEOPLE) == pytest.approx(0.01, abs=0.004)
    assert comes["complain"] / len(PEOPLE) == pytest.approx(0.001, abs=0.001)
    for what in ("open", "open-proxied", "prefetch", "scan", "scan-as-browser", "click", "unsubscribe"):
        assert comes[what] > 50, what


@pytest.mark.parametrize(
    ("label", "receive", "steps"),
    [
        ("plain", "accept", []),
        ("unknown", "unknown", []),
        ("full", "full", []),
        ("policy", "policy", []),
        ("grey", "greylist", []),
        ("bounce", "accept", ["bounce"]),
        ("complain", "accept", ["complain"]),
        ("open", "accept", ["open"]),
        ("gproxy", "accept", ["open-proxied"]),
        ("mpp", "accept", ["prefetch"]),
        ("scanner", "accept", ["scan"]),
        ("sneaky", "accept", ["scan-as-browser"]),
        ("click", "accept", ["open", "click"]),
        ("unsub", "accept", ["open", "unsubscribe"]),
    ],
)
def test_the_first_label_forces_a_behaviour(label: str, receive: str, steps: list[str]) -> None:
    for seed in range(20):
        how = behaviour(f"{label}.x{seed}@gmail.example", seed)
        assert (how.receive, [step.what for step in how.steps]) == (receive, steps)
    assert label in FORCED


def test_a_name_that_only_begins_like_a_forced_one_is_an_ordinary_name() -> None:
    assert {behaviour(f"unknown{n}@gmail.example", 1).receive for n in range(50)} != {"unknown"}


def test_machines_come_at_once_and_people_later() -> None:
    for who in PEOPLE:
        for step in behaviour(who, 1).steps:
            if step.what.startswith("scan"):
                assert step.after < 1
            elif step.what in ("open", "open-proxied", "click", "unsubscribe"):
                assert 2.5 <= step.after <= 8


def test_google_is_read_through_its_proxy_and_apple_prefetches() -> None:
    kinds = {name: Counter[str]() for name in OPENS}
    for who in PEOPLE:
        how = behaviour(who, 1)
        kinds[how.provider].update(step.what for step in how.steps)
    assert kinds["google"]["open-proxied"]
    assert not kinds["google"]["open"]
    assert kinds["apple"]["prefetch"]
    assert not any(kinds[name]["prefetch"] for name in kinds if name != "apple")
    assert not any(kinds[name]["scan"] for name in ("google", "apple", "gmx", "yahoo"))


@pytest.mark.parametrize("provider", [*OPENS, "someone-new"])
@pytest.mark.parametrize("kind", ["unknown", "full", "policy", "greylist"])
def test_replies_are_well_formed(provider: str, kind: str) -> None:
    lines = refusal(kind, provider, "ada@gmail.example", 0xABC)
    assert {line[:3] for line in lines} == {lines[0][:3]}
    assert lines[0][0] == ("4" if kind == "greylist" else "5")
    assert [line[3] for line in lines] == ["-"] * (len(lines) - 1) + [" "]
    assert all(line.isascii() and len(line) < 510 and "{" not in line for line in lines)
