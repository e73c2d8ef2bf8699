"""Which host names are ours: nothing else ever gets a certificate."""

from pathlib import Path

import pytest

from thurn.db.connect import Connection
from thurn.mailhost import hosts
from thurn.settings import Settings

OWN = Settings(state=Path("/nowhere"), hostname="mail.thurn.example", base_url="https://thurn.example:8443")
DOMAINS = [("brotzeit.example", 7, "go.brotzeit.example"), ("xn--brtchen-b1a.example", 8, "")]


@pytest.mark.parametrize(
    ("host", "purpose", "workspace"),
    [
        ("thurn.example", "web", 1),
        ("mail.thurn.example", "mail", 1),
        ("webmail.mail.thurn.example", "webmail", 1),
        ("webmail.thurn.example", None, None),
        ("webmail.brotzeit.example", None, None),
        ("mta-sts.brotzeit.example", "mta-sts", 7),
        ("autoconfig.brotzeit.example", "autoconfig", 7),
        ("autodiscover.brotzeit.example", "autodiscover", 7),
        ("mail.brotzeit.example", "mail", 7),
        ("go.brotzeit.example", "tracking", 7),
        ("autoconfig.xn--brtchen-b1a.example", "autoconfig", 8),
        ("brotzeit.example", None, None),
        ("www.brotzeit.example", None, None),
        ("autoconfig.autoconfig.brotzeit.example", None, None),
        ("xautoconfig.brotzeit.example", None, None),
        ("autoconfig.stranger.example", None, None),
        ("autoconfig.brotzeit.example.stranger.example", None, None),
        ("autoconfig_brotzeit.example", None, None),
        ("8443", None, None),
    ],
)
def test_a_host_is_ours_by_its_whole_name(host: str, purpose: str | None, workspace: int | None) -> None:
    found = hosts.choose(host, hosts.own(OWN), DOMAINS)
    assert (found and found.purpose, found and found.workspace_id) == (purpose, workspace)


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("Autoconfig.Brotzeit.Example.", "autoconfig.brotzeit.example"),
        ("_dmarc.x.example", "_dmarc.x.example"),
        *(
            (bad, "")
            for bad in ("", ".", "localhost", "a..b", "-a.example", "a-.example", "a b.example", "a.example/x")
        ),
        *(
            (bad, "")
            for bad in ("*.x.example", "x.example:443", "x.example\n", "x.example\0", "ä.example", "a%.example")
        ),
        *((bad, "") for bad in ("'; DROP TABLE domain; --.example", f"{'a' * 64}.example", f"{'a.' * 130}example")),
    ],
)
def test_what_is_no_host_name_is_nobody_s(typed: str, stored: str) -> None:
    assert hosts.tidy(typed) == stored


def test_one_host_for_everything_is_one_host() -> None:
    one = Settings(state=Path("/nowhere"), hostname="mail.thurn.example", base_url="https://mail.thurn.example")
    assert hosts.own(one) == [
        hosts.Host("mail.thurn.example", "web"),
        hosts.Host("webmail.mail.thurn.example", "webmail"),
    ]
    local = Settings(state=Path("/nowhere"), hostname="laptop")
    assert hosts.own(local) == [], "a name without a dot gets no certificate"


PORTS = {"http": 2580, "https": 2543, "webmail": 2544}


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({}, "http://localhost:2544"),
        ({"listen": "192.0.2.1"}, "http://192.0.2.1:2544"),
        ({"listen": "192.0.2.1", "base_url": "http://mail.thurn.example:2580"}, "http://mail.thurn.example:2544"),
        ({"base_url": "https://thurn.example"}, "https://webmail.mail.thurn.example:2543"),
        ({"base_url": "https://thurn.example", "https": "proxy"}, "https://webmail.mail.thurn.example"),
        ({"base_url": "https://thurn.example", "hostname": "laptop"}, "https://webmail.thurn.example:2543"),
        ({"base_url": "https://thurn.example", "webmail_host": "Post.Thurn.Example", "https": "proxy"},
         "https://post.thurn.example"),
    ],
)  # fmt: skip
def test_webmail_is_never_where_the_web_interface_is(settings: dict[str, str], url: str) -> None:
    here = Settings(**{"state": Path("/nowhere"), "hostname": "Mail.Thurn.Example."} | settings)  # type: ignore[arg-type]
    here.__dict__["port"] = PORTS
    assert here.webmail_url == url
    assert here.url != url
    standard = here.model_copy()
    standard.__dict__["port"] = {"http": 80, "https": 443, "webmail": 8080}
    assert standard.webmail_url.count(":") == (2 if url.startswith("http:") else 1)


@pytest.mark.parametrize(
    "host",
    [
        "thurn.example",
        "mail.thurn.example",
        "laptop",
        "a b.example",
        "x.example }",
        "x.example:8443",
        "https://x.example",
    ],
)
def test_a_host_that_webmail_cannot_have_for_itself_is_refused_with_the_settings(host: str) -> None:
    with pytest.raises(ValueError, match="webmail_host"):
        Settings(
            state=Path("/nowhere"), hostname="mail.thurn.example", base_url="https://thurn.example", webmail_host=host
        )


async def test_only_proven_domains_have_hosts(system: Connection, clean: Settings) -> None:
    await system.execute(
        """INSERT INTO domain (workspace_id, name, bounce_host, proven_at) VALUES
             (1, 'brotzeit.example', 'bounce.brotzeit.example', now()),
             (1, 'a_b.example', 'bounce.a_b.example', now()),
             (1, 'hoped-for.example', 'bounce.hoped-for.example', NULL)"""
    )
    found = await hosts.find(system, clean, "AUTOCONFIG.brotzeit.example")
    assert found == hosts.Host("autoconfig.brotzeit.example", "autoconfig", "brotzeit.example", 1)
    assert await hosts.find(system, clean, "autoconfig.hoped-for.example") is None
    assert await hosts.find(system, clean, "autoconfig.acb.example") is None
    assert await hosts.find(system, clean, "autoconfig.%.example") is None
    assert await hosts.find(system, clean, "x'); --") is None
    every = [host.name for host in await hosts.every(system, clean)]
    assert every[:1] == ["mail.thurn.example"]
    assert "mta-sts.brotzeit.example" in every
    assert not [name for name in every if "hoped-for" in name]
