"""Under which name links go out: the sender's own only while it works."""

from typing import Any

import pytest

from tests.tracking.conftest import Sent
from thurn.db.connect import Connection
from thurn.delivery.composers import Composers
from thurn.mail.tokens import VerpTokens
from thurn.secrets import Secrets
from thurn.settings import Settings
from thurn.tracking.host import link_base

HOST, MAIN, OURS = "links.huber.example", "https://thurn.example", "https://links.huber.example"
RIGHT: dict[str, Any] = {"right": True, "certificate": "good"}


async def furnish(system: Connection, *, right: bool, certificate: str, proven: bool = True, host: str = HOST) -> None:
    await system.execute(
        """INSERT INTO domain (workspace_id, name, bounce_host, proven_at, tracking_host, tracking_right_at)
           VALUES (1, 'huber.example', 'bounce.huber.example', CASE WHEN %s THEN now() END, %s,
                   CASE WHEN %s THEN now() END)""",
        [proven, host, right],
    )
    if certificate:
        await system.execute(
            "INSERT INTO certificate (host, workspace_id, purpose, state) VALUES (%s, 1, 'tracking', %s)",
            [HOST, certificate],
        )


@pytest.mark.parametrize(
    ("there", "how", "base"),
    [
        (RIGHT, {}, OURS),
        (RIGHT | {"certificate": "soon"}, {}, OURS),
        (RIGHT | {"right": False}, {}, MAIN),
        (RIGHT | {"certificate": "bad"}, {}, MAIN),
        (RIGHT | {"certificate": "unused"}, {}, MAIN),
        (RIGHT | {"certificate": ""}, {}, MAIN),
        (RIGHT | {"proven": False}, {}, MAIN),
        (RIGHT | {"host": ""}, {}, MAIN),
        (RIGHT | {"certificate": ""}, {"https": "proxy"}, OURS),  # the certificates are the proxy's
        (RIGHT | {"right": False}, {"https": "proxy"}, MAIN),
        (RIGHT, {"base_url": "http://thurn.example"}, "http://thurn.example"),
    ],
)  # fmt: skip
async def test_links_carry_the_senders_name_only_while_it_works(
    clean: Settings, system: Connection, there: dict[str, Any], how: dict[str, str], base: str
) -> None:
    await furnish(system, **there)
    settings = clean.model_copy(update={"base_url": MAIN} | how)
    settings.__dict__["port"] = clean.port | {"https": 443}
    assert await link_base(system, settings, 1, "huber.example") == base
    assert await link_base(system, settings, 2, "huber.example") == settings.url, "another workspace's"
    assert await link_base(system, settings, 1, "hub_r.example") == settings.url


async def test_every_link_of_a_mail_has_the_same_host(clean: Settings, system: Connection, sent: Sent) -> None:
    await furnish(system, **RIGHT)
    await system.execute(
        """UPDATE campaign SET kind = 'html', subject = 'Rolls',
             source = '<p><a href="https://huber.example/">Rolls</a> <a href="{{ unsubscribe_url }}">Leave</a></p>'"""
    )
    settings = clean.model_copy(update={"base_url": MAIN})
    settings.__dict__["port"] = clean.port | {"https": 443}
    secrets = Secrets(clean.state)
    composer = await Composers(settings, secrets, VerpTokens(secrets.derive("verp"))).get(system, sent.campaign)
    mail = composer.compose(sent.deliveries[0], "mia@gmx.example", "gmx", {}).data.decode().replace("=\r\n", "")
    for purpose in "ocu":
        assert f"{OURS}/{purpose}/" in mail
    assert f"List-Unsubscribe: <{OURS}/u/" in mail
    assert MAIN not in mail
