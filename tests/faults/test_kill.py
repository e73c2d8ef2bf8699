"""Faults in the middle of a campaign: nobody is skipped, nobody gets it twice, by the receivers' own count.

`make faults` does the same with more people and more often, and rotates the log, cuts the network, fills the disk and
sets the clock.
"""

import pytest
from cases import run

from thurn.settings import Settings

RECIPIENTS = 1000


@pytest.mark.stack
@pytest.mark.parametrize("case", ["sender", "out", "db", "worker", "feedback", "stack"])
async def test_a_fault_in_mid_campaign_skips_nobody_and_repeats_nobody(sending: Settings, case: str) -> None:
    count = await run(sending, case, RECIPIENTS, seed=1, times=1)
    assert (count.missing, count.duplicates) == (0, 0)
