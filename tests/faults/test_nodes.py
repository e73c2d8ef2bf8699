"""Two machines send one campaign, and one of them dies in the middle: nobody is skipped, nobody gets it twice."""

from collections.abc import Iterator

import pytest
from campaigns import accepted, launch, wait_until_accepted, wait_until_settled
from nodes import Machine, came, two_machines, until

from thurn.settings import Settings
from thurn.simulate import client

RECIPIENTS = 3000
HELO = {"mail.house.example", "two.house.example"}


@pytest.fixture(scope="module")
def machines() -> Iterator[tuple[Settings, Machine]]:
    """The first one and the second."""
    with two_machines() as both:
        yield both


@pytest.mark.stack
async def test_two_machines_send_one_campaign_and_one_dies_and_comes_back(
    machines: tuple[Settings, Machine],
) -> None:
    main, second = machines
    before = accepted(main)
    campaign, addresses = await launch(main, RECIPIENTS)
    wait_until_accepted(main, before + RECIPIENTS // 4)
    until("both send", lambda: set(came(main, campaign)) == HELO)
    second.kill()
    second.up()
    wait_until_settled(main, campaign, RECIPIENTS)
    truth = client.truth(main, campaign=campaign, expected=addresses, dkim=False)
    assert (truth.missing, truth.duplicates) == (0, 0)
