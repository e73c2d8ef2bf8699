"""Which certificates reach Postfix and Dovecot: those that hold, and no other."""

import datetime as dt
from pathlib import Path

import pytest
from acme import DAY, certificate
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from thurn.settings import Settings
from thurn.stack import certificates as kept
from thurn.stack import tls
from thurn.stack.files import place

HOST = "mail.x.example"
NOW = dt.datetime.now(dt.UTC)


def put(folder: Path, chain: str, key: str, *, name: str = HOST, authority: str = "ca") -> None:
    path = folder / "edge/data/certificates" / authority / name
    path.mkdir(parents=True, exist_ok=True)
    (path / f"{name}.crt").write_text(chain)
    (path / f"{name}.key").write_text(key)


def other_key() -> str:
    return certificate(["x"])[1]


GOOD, GOOD_KEY = certificate([HOST])
STRANGER, _ = certificate(["stranger.example"])


@pytest.mark.parametrize(
    ("chain", "key"),
    [
        (GOOD, other_key()),
        (GOOD, ""),
        ("", GOOD_KEY),
        (GOOD, GOOD),
        (GOOD_KEY, GOOD_KEY),
        (GOOD[:200], GOOD_KEY),
        (GOOD, GOOD_KEY[:60]),
        (GOOD + STRANGER, GOOD_KEY),
        (STRANGER + GOOD, GOOD_KEY),
        ("\0" * 100, "\0" * 100),
        certificate(["other.x.example"]),
        certificate(["*.mail.x.example"]),
        certificate(["*.example"]),
        certificate([HOST], begins=-2 * DAY, ends=-DAY),
        certificate([HOST], begins=DAY, ends=2 * DAY),
    ],
    ids=[  # not the keys themselves: every process that runs tests makes others
        "another's key",
        "no key",
        "no chain",
        "chain as key",
        "key as chain",
        "cut chain",
        "cut key",
        "a stranger's chain after it",
        "a stranger's first",
        "nulls",
        "another name",
        "a wildcard below",
        "a wildcard above",
        "expired",
        "not yet valid",
    ],
)
def test_what_does_not_hold_is_not_placed(tmp_path: Path, chain: str, key: str) -> None:
    put(tmp_path, chain, key)
    assert kept.best(kept.stored(tmp_path, HOST), HOST, NOW) is None
    assert kept.mail_host(Settings(state=tmp_path, hostname=HOST)) == []


@pytest.mark.parametrize("names", [[HOST], ["*.x.example"], ["x.example", HOST]])
def test_what_holds_is_placed_with_its_key_for_root_alone(tmp_path: Path, names: list[str]) -> None:
    chain, key = certificate(names)
    put(tmp_path, chain, key)
    files = {file.path: file for file in kept.mail_host(Settings(state=tmp_path, hostname="MAIL.x.example"))}
    assert files[tls.PAIR].text == key + chain
    assert files[tls.PAIR].mode == 0o600
    assert "PRIVATE" not in files[tls.CERTIFICATE].text


def test_the_newest_of_several_authorities_wins_and_a_broken_one_is_passed_over(tmp_path: Path) -> None:
    put(tmp_path, *certificate([HOST], begins=-3 * DAY), authority="old")
    newest = certificate([HOST], begins=-DAY)
    put(tmp_path, *newest, authority="new")
    put(tmp_path, GOOD, other_key(), authority="broken")
    found = kept.best(kept.stored(tmp_path, HOST), HOST, NOW)
    assert found is not None
    assert found.chain == newest[0]


def test_a_certificate_of_the_operator_s_own_comes_first(tmp_path: Path) -> None:
    put(tmp_path, GOOD, GOOD_KEY)
    chain, key = certificate([HOST], begins=-9 * DAY)
    (tmp_path / "own.crt").write_text(chain)
    (tmp_path / "own.key").write_text(key)
    settings = Settings(
        state=tmp_path, hostname=HOST, mail_certificate=tmp_path / "own.crt", mail_key=tmp_path / "own.key"
    )
    assert next(file.text for file in kept.mail_host(settings)) == key + chain
    (tmp_path / "own.key").write_text(other_key())
    assert kept.mail_host(settings) == [], "what is placed already stays, rather than a pair nobody asked for"


def test_the_self_signed_one_is_not_made_again_over_a_real_one(tmp_path: Path) -> None:
    place(tmp_path, tls.directories())
    place(tmp_path, tls.together(GOOD, GOOD_KEY))
    assert not tls.outdated(tmp_path, HOST)
    assert (
        not x509.load_pem_x509_certificate(GOOD.encode())
        .extensions.get_extension_for_class(x509.BasicConstraints)
        .value.ca
    )


def test_further_names_are_listed_for_both_daemons(tmp_path: Path) -> None:
    files = {file.path: file for file in tls.sni_files(tmp_path, {"mail.b.example": "B", "mail.a.example": "A"})}
    assert files[tls.SNI].text.splitlines() == [
        f"mail.a.example {tmp_path}/tls/names/mail.a.example.pem",
        f"mail.b.example {tmp_path}/tls/names/mail.b.example.pem",
    ]
    assert files[tls.DOVECOT_NAMES].text.count("local_name mail.a.example {") == 1
    assert files["tls/names/mail.a.example.pem"].mode == 0o600
    assert files[tls.SNI].mode == 0o600


def test_a_key_of_another_curve_or_kind_is_read_too() -> None:
    chain, key = certificate([HOST], key=ec.generate_private_key(ec.SECP384R1()))
    assert kept.pair(chain, key).leaf.not_valid_after_utc > NOW
