"""Forwarding as it is kept: which targets are taken, and which are refused in words."""

import pytest

from thurn.db.connect import Connection, Pool, in_workspace
from thurn.mailhost import forwards, mailboxes
from thurn.mailhost.forwards import Forwarding
from thurn.problems import Invalid, NotFound

ANNA = "anna@brotzeit.example"

pytestmark = pytest.mark.usefixtures("people")


async def number(db: Connection) -> int:
    return int((await mailboxes.get_mailbox(db, ANNA))["id"])


async def test_a_new_mailbox_forwards_nothing(db: Connection) -> None:
    assert await forwards.get(db, await number(db)) == Forwarding((), True)


async def test_targets_are_kept_in_one_form_and_once(db: Connection) -> None:
    mine = await number(db)
    typed = [" Franz@Elsewhere.EXAMPLE ", "", "franz@brötchen.example", "Franz@elsewhere.example"]
    kept = await forwards.put(db, 1, mine, targets=typed, keep_copy=False)
    assert kept == Forwarding(("Franz@elsewhere.example", "franz@xn--brtchen-b1a.example"), False)
    assert await forwards.get(db, mine) == kept


async def test_without_targets_the_mail_stays(db: Connection) -> None:
    assert await forwards.put(db, 1, await number(db), targets=[], keep_copy=False) == Forwarding((), True)


@pytest.mark.parametrize(
    "target",
    ["franz", "franz@", "@elsewhere.example", "a b@x.example", "a,b@x.example", "|/bin/sh@x.example\n", "/etc/passwd",
     "x@y.example,z@w.example", "-oops@x.example", "a%b@x.example", "x!y@x.example", '"a b"@x.example', "a\0@x.example",
     "${1}@x.example,y", "a@[127.0.0.1]", "ä@x.example", "\ud800@x.example", "a" * 65 + "@x.example", ANNA,
     ANNA.upper(), "a" * 5000],
)  # fmt: skip
async def test_what_cannot_be_sent_to_is_refused_in_words(db: Connection, target: str) -> None:
    mine = await number(db)
    with pytest.raises(Invalid) as refused:
        await forwards.put(db, 1, mine, targets=["fine@elsewhere.example", target], keep_copy=True)
    assert refused.value.field == "targets"
    assert len(refused.value.message) < 250
    assert (await forwards.get(db, mine)).targets == ()


async def test_there_is_an_end_to_targets(db: Connection) -> None:
    targets = [f"a{i}@x.example" for i in range(forwards.MOST + 1)]
    with pytest.raises(Invalid, match="10 addresses"):
        await forwards.put(db, 1, await number(db), targets=targets)


async def test_a_mailbox_of_another_workspace_is_out_of_reach(db: Connection, app_pool: Pool) -> None:
    mine = await number(db)
    async with in_workspace(app_pool, 2) as other:
        with pytest.raises(NotFound):
            await forwards.get(other, mine)
        with pytest.raises(NotFound):
            await forwards.put(other, 2, mine, targets=["a@x.example"])
