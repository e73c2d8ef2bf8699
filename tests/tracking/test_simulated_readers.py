"""The classifier against the simulated readers: no person is taken for a machine, no machine for a person."""

import pytest

from thurn.simulate import engage
from thurn.simulate.behaviour import Step, behaviour
from thurn.tracking.classify import bursts, decide
from thurn.tracking.spool import Hit

ACCEPTED = 1_000.4
SEEN = 1_000.0  # the mail log knows whole seconds
MACHINES = {"scan", "scan-as-browser", "prefetch"}


def hits(step: Step, person: int) -> list[Hit]:
    """What a step fetches of a mail with one picture and three links, the way engage.py does it."""

    def fetch(purpose: str, agent: str, link: int = 0, after: float = 0.0, method: str = "GET") -> Hit:
        return Hit(purpose, 1, 7, person, link, ACCEPTED + step.after + after, method, False, agent)

    match step.what:
        case "scan":
            links = [fetch("c", engage._SCANNER, n, n / 50, method) for n in (1, 2, 3) for method in ("HEAD", "GET")]
            return [*links, fetch("o", engage._SCANNER, after=0.1)]
        case "scan-as-browser":
            return [fetch("c", engage._BROWSERS[0], n, n / 50) for n in (1, 2, 3)]
        case "prefetch":
            return [fetch("o", engage._APPLE_PROXY)]
        case "open":
            return [fetch("o", engage._MAIL_PROGRAMS[person % len(engage._MAIL_PROGRAMS)])]
        case "open-proxied":
            return [fetch("o", engage._GOOGLE_PROXY)]
        case "click":
            return [fetch("c", engage._BROWSERS[person % len(engage._BROWSERS)], 1 + int(float(step.detail) * 3))]
    return []


@pytest.mark.parametrize("delivered", [SEEN, ACCEPTED + 0.9, None], ids=["log", "log read late", "not known yet"])
def test_people_are_people_and_machines_are_machines(delivered: float | None) -> None:
    counted = {"human": 0, "machine": 0}
    for person in range(4000):
        domain = ("gmail.example", "outlook.example", "icloud.example", "university.example")[person % 4]
        steps = behaviour(f"reader{person}@{domain}", seed=1).steps
        done = [(step, hit) for step in steps for hit in hits(step, person)]
        burst = bursts(((hit.campaign, hit.delivery), hit.at, hit.link) for _, hit in done if hit.purpose == "c")
        for step, hit in done:
            decision = decide(hit, delivered, burst)
            expected = "machine" if step.what in MACHINES else "human"
            assert decision.actor == expected, (step, decision)
            counted[decision.actor] += 1
    assert min(counted.values()) > 100
