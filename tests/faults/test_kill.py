"""kill -9 in the middle of a campaign: nobody is skipped, nobody gets it twice, by the receivers' own count."""

import pytest
from campaigns import accepted, kill, launch, wait_until_accepted, wait_until_settled

from thurn.settings import Settings
from thurn.simulate import client

RECIPIENTS = 1500


@pytest.mark.stack
@pytest.mark.parametrize("role", ["sender", "out", "db", "worker", "feedback"])
async def test_a_kill_in_mid_campaign_skips_nobody_and_repeats_nobody(sending: Settings, role: str) -> None:
    before = accepted(sending)
    campaign, addresses = await launch(sending, RECIPIENTS)
    for share in (0.2, 0.6):
        wait_until_accepted(sending, before + int(RECIPIENTS * share))
        kill(sending, role)
    wait_until_settled(sending, campaign, RECIPIENTS)
    truth = client.truth(sending, campaign=campaign, expected=addresses, dkim=False)
    assert (truth.missing, truth.duplicates, truth.recipients) == (0, 0, RECIPIENTS)
