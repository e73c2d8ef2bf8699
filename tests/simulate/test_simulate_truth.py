"""Truth is counted from what receivers hold, whatever Thurn says."""

import base64
from pathlib import Path

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from nacl.signing import SigningKey

from thurn.mail.tokens import VerpTokens
from thurn.settings import Settings
from thurn.simulate import client
from thurn.simulate.behaviour import Step
from thurn.simulate.dkimcheck import count_dkim
from thurn.simulate.service import store_path
from thurn.simulate.store import Store, read
from thurn.simulate.truth import Truth, count_truth

VERP = VerpTokens(b"k" * 32)


def mail_to(recipient: str, number: int = 1) -> bytes:
    head = f"From: us@brotzeit.example\r\nTo: <{recipient}>\r\nMessage-ID: <{number}@brotzeit.example>\r\n"
    return f"{head}Subject: Hi\r\n\r\nHello\r\n".encode()


def envelope(campaign: int, delivery: int) -> str:
    return f"{VERP.local_part('e1', 'gmx', campaign, delivery)}@bounce.brotzeit.example"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sim" / "mail.sqlite3"


@pytest.fixture
def store(path: Path) -> Store:
    return Store(path)


def count(path: Path, campaign: int | None = None, expected: list[str] | None = None) -> Truth:
    scope = None if campaign is None else str(campaign)
    return count_truth(path, dns_port=1, campaign=scope, expected=expected, dkim=False)


def test_an_empty_store_counts_to_nothing(store: Store, path: Path) -> None:
    truth = count(path, expected=["ada@gmx.example"])
    assert (truth.accepted, truth.duplicates, truth.missing, truth.samples["missing"]) == (0, 0, 1, ["ada@gmx.example"])


def test_a_second_copy_of_a_campaign_is_a_duplicate_whatever_its_message_id(store: Store, path: Path) -> None:
    for number, (campaign, recipient) in enumerate([(1, "ada"), (1, "ada"), (1, "ada"), (2, "ada"), (1, "bob")]):
        store.accept(
            envelope(campaign, number), f"{recipient}@gmx.example", mail_to(f"{recipient}@gmx.example", number)
        )
    store.commit()
    assert (count(path).duplicates, count(path, 1).duplicates, count(path, 2).duplicates) == (2, 2, 0)
    assert count(path).samples["duplicates"] == ["ada@gmx.example"]
    assert (count(path, 1).accepted, count(path, 1).recipients) == (4, 2)


def test_peoples_mail_is_a_duplicate_only_with_the_same_message_id(store: Store, path: Path) -> None:
    for number in (1, 2, 2):
        store.accept("ada@brotzeit.example", "bob@gmx.example", mail_to("bob@gmx.example", number))
    store.commit()
    assert count(path).duplicates == 1


def test_who_was_refused_for_good_is_not_missing_and_who_was_put_off_is(store: Store, path: Path) -> None:
    store.accept(envelope(1, 1), "ada@gmx.example", mail_to("ada@gmx.example"))
    store.refuse(envelope(1, 2), "bob@gmx.example", "unknown", "550")
    store.refuse(envelope(1, 3), "cyd@gmx.example", "greylist", "451")
    store.refuse(envelope(1, 4), "dot@gmx.example", "greylist", "451")
    store.accept(envelope(1, 4), "dot@gmx.example", mail_to("dot@gmx.example"))
    store.refuse(envelope(2, 5), "eve@gmx.example", "full", "552")
    store.accept(envelope(1, 6), "fay@gmx.example", mail_to("fay@gmx.example"))
    store.commit()
    truth = count(
        path, 1, ["ADA@gmx.example", "bob@gmx.example", "cyd@gmx.example", "dot@gmx.example", "eve@gmx.example"]
    )
    assert truth.missing == 2
    assert truth.samples["missing"] == ["cyd@gmx.example", "eve@gmx.example"]
    assert (truth.unexpected, truth.samples["unexpected"]) == (1, ["fay@gmx.example"])
    assert truth.refused == {"unknown": 1}
    assert (truth.deferred, truth.deferred_then_delivered) == (2, 1)


def test_a_mail_made_out_to_somebody_else_is_seen(store: Store, path: Path) -> None:
    store.accept(envelope(1, 1), "ada@gmx.example", mail_to("bob@gmx.example"))
    folded = mail_to("x").replace(b"To: <x>", b"to: Ada Lovelace\r\n <ADA@gmx.example>")
    store.accept(envelope(1, 2), "ada@gmx.example", folded)
    store.commit()
    assert count(path).misaddressed == 1


def test_actions_count_people_and_only_those_that_were_answered(store: Store, path: Path) -> None:
    ada = store.accept(envelope(1, 1), "ada@gmx.example", mail_to("ada@gmx.example"))
    bob = store.accept(envelope(1, 2), "bob@gmx.example", mail_to("bob@gmx.example"))
    for message, kind, actor, ok in [
        (ada, "open", "human", True),
        (ada, "open", "human", True),
        (bob, "open", "machine", True),
        (bob, "open", "human", False),
        (ada, "click", "human", True),
        (bob, "click", "machine", True),
        (bob, "look", "machine", True),
        (ada, "unsubscribe", "human", True),
        (bob, "complaint", "human", True),
    ]:
        store.record(message, kind, actor, ok=ok, status="200", target="http://127.0.0.1/")
    store.record(bob, "bounce", "machine", ok=True, status="250", target="full")
    store.commit()
    truth = count(path, 1)
    assert (truth.opens_human, truth.opens_machine, truth.clicks_human, truth.clicks_machine) == (1, 1, 1, 1)
    assert (truth.unsubscribes, truth.complaints, truth.late_bounces, truth.failed_actions) == (1, 1, {"full": 1}, 1)
    assert count(path, 2).opens_human == 0


def test_nothing_is_kept_before_the_commit(store: Store, path: Path) -> None:
    message = store.accept("", "ada@gmx.example", mail_to("ada@gmx.example"))
    store.plan(message, Step(1, "open"))
    assert count(path).accepted == 0
    store.rollback()
    store.commit()
    assert list(store.open_steps()) == []


@pytest.mark.parametrize("data", [b"", b"\r\n\r\n", b"\xff" * 100, b"To:" * 1000, b"Message-ID: <" + b"x" * 10_000])
def test_any_bytes_can_be_held(store: Store, path: Path, data: bytes) -> None:
    store.accept("\udcff@x", "\udcfe@y", data)
    store.commit()
    db = read(path)
    assert db.execute("SELECT data FROM message").fetchone()["data"] == data
    db.close()


# ---- signatures


@pytest.fixture(scope="module")
def keys() -> tuple[bytes, str, bytes, str]:
    """RSA (private PEM, public base64), Ed25519 (private base64, public base64)."""
    pair = rsa.generate_private_key(65537, 2048)
    pem = pair.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    public = base64.b64encode(pair.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
    seed = SigningKey.generate()
    return pem, public, base64.b64encode(bytes(seed)), base64.b64encode(bytes(seed.verify_key)).decode()


def signed(
    keys: tuple[bytes, str, bytes, str], mail: bytes, which: str = "both", domain: bytes = b"brotzeit.example"
) -> bytes:
    headers = [b"from", b"to", b"subject", b"message-id"]
    if which in ("both", "rsa"):
        mail = dkim.sign(mail, b"rsa", domain, keys[0], include_headers=headers) + mail
    if which in ("both", "ed"):
        ed = dkim.sign(mail, b"ed", domain, keys[2], signature_algorithm=b"ed25519-sha256", include_headers=headers)
        mail = ed + mail
    return mail


def test_signatures_are_checked_by_keys_looked_up_in_the_dns(
    internet: Settings, keys: tuple[bytes, str, bytes, str]
) -> None:
    good = mail_to("ada@gmx.example")
    cases = {
        "ok": signed(keys, good),
        "received on the way": b"Received: from out\r\n by x\r\n" + signed(keys, good),
        "no signature with ed25519-sha256": signed(keys, good, "rsa"),
        "no signature with rsa-sha256": signed(keys, good, "ed"),
        "no signature with ed25519-sha256, rsa-sha256": good,
        "body hash mismatch": signed(keys, good).replace(b"Hello", b"Hallo"),
        "signature 1 of 2 is wrong": signed(keys, good).replace(b"Subject: Hi", b"Subject: Ho"),
        "is not published": signed(keys, good, domain=b"elsewhere.example"),
        "is not aligned": signed(keys, good.replace(b"us@brotzeit", b"us@other")),
    }
    for name, value in (("rsa", f"v=DKIM1; k=rsa; p={keys[1]}"), ("ed", f"v=DKIM1; k=ed25519; p={keys[3]}")):
        client.publish(internet, [{"name": f"{name}._domainkey.brotzeit.example", "type": "TXT", "value": value}])
    path = store_path(internet).with_name("other.sqlite3")
    store = Store(path)
    ids = [store.accept("", "ada@gmx.example", mail) for mail in cases.values()]
    store.commit()
    result = count_dkim(path, ids, internet.port["sim_dns"])
    reasons = dict(result.failures)
    assert (result.checked, result.passed) == (9, 2)
    for number, expected in list(zip(ids, cases, strict=True))[2:]:
        assert expected in reasons[number]


def test_many_signatures_are_checked_in_two_processes_and_sampled_on_demand(
    internet: Settings, keys: tuple[bytes, str, bytes, str]
) -> None:
    for name, value in (("rsa", f"v=DKIM1; k=rsa; p={keys[1]}"), ("ed", f"v=DKIM1; k=ed25519; p={keys[3]}")):
        client.publish(internet, [{"name": f"{name}._domainkey.brotzeit.example", "type": "TXT", "value": value}])
    path = store_path(internet).with_name("many.sqlite3")
    store = Store(path)
    mail = signed(keys, mail_to("ada@gmx.example"))
    for _ in range(300):
        store.accept("", "ada@gmx.example", mail)
    store.commit()
    whole = count_truth(path, dns_port=internet.port["sim_dns"])
    assert (whole.dkim_checked, whole.dkim_pass) == (300, 300)
    part = count_truth(path, dns_port=internet.port["sim_dns"], sample=50)
    assert (part.dkim_checked, part.dkim_pass) == (50, 50)


def test_who_was_put_off_and_never_got_it_is_missing_whatever_the_reason(store: Store, path: Path) -> None:
    kinds = ("greylist", "rate", "tempfail", "block")
    for number, kind in enumerate(kinds):
        store.refuse(envelope(1, number), f"{kind}@gmx.example", kind, "no")
    store.commit()
    truth = count(path, expected=[f"{kind}@gmx.example" for kind in kinds])
    assert (truth.missing, truth.refused, truth.deferred) == (3, {"block": 1}, 3)
