"""What reverse DNS says about a sending address, in words."""

import pytest

from thurn.delivery.egress_check import here, judge
from thurn.dns.verdicts import Answers

IP, HELO = "192.0.2.22", "out2.brotzeit.example"


@pytest.mark.parametrize(
    ("pointer", "forward", "level", "part"),
    [
        (Answers("found", (f"{HELO}.",)), Answers("found", (IP,)), "ok", "point to each other"),
        (Answers("found", ("OUT2.Brotzeit.example.",)), Answers("found", ("192.0.2.1", IP)), "ok", "each other"),
        (Answers("nothing"), Answers("found", (IP,)), "bad", "no reverse DNS"),
        (Answers("no-name"), Answers("found", (IP,)), "bad", "no reverse DNS"),
        (Answers("found", ("host-22.provider.example.",)), Answers("found", (IP,)), "bad", "host-22.provider.example"),
        (Answers("found", (f"{HELO}.",)), Answers("found", ("192.0.2.9",)), "bad", "leads to 192.0.2.9"),
        (Answers("found", (f"{HELO}.",)), Answers("no-name"), "bad", "has no address"),
        (Answers("timeout"), Answers("found", (IP,)), "warn", "could not be looked up"),
    ],
)
def test_both_ways_must_lead_to_each_other(pointer: Answers, forward: Answers, level: str, part: str) -> None:
    finding = judge(IP, HELO, pointer, forward)
    assert (finding.level, part in finding.what) == (level, True), finding
    assert bool(finding.fix) == (level != "ok")


def test_whether_this_machine_has_an_address_is_tried() -> None:
    assert here("127.0.0.2").level == "ok"
    assert here("::1").level == "ok"
    assert here("192.0.2.22").level == "bad"
