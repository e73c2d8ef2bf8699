"""Composers of the campaigns that are being sent, made once each and kept while they are used."""

import time
from collections import OrderedDict

from thurn.content.program import TemplateError, compile_mail
from thurn.db.connect import Connection
from thurn.delivery.compose import Composer, Sender
from thurn.mail.dkim import Signer
from thurn.mail.tokens import TrackingTokens, VerpTokens
from thurn.mailhost.service import signing_keys
from thurn.secrets import Secrets
from thurn.settings import Settings
from thurn.tracking.host import link_base

_KEPT = 50  # compiled campaigns in memory
_FRESH = 600.0  # seconds; then made anew, for the domain's keys may have changed


class NotReady(Exception):
    """A campaign can't be sent as it is; the text tells the operator why and what to do."""


class Composers:
    """Campaign id -> Composer."""

    def __init__(self, settings: Settings, secrets: Secrets, verp: VerpTokens) -> None:
        self._settings = settings
        self._tracking = TrackingTokens(secrets.derive("tracking"))
        self._verp = verp
        self._made: OrderedDict[int, tuple[float, Composer]] = OrderedDict()

    async def get(self, db: Connection, campaign: int) -> Composer:
        """The composer of a campaign; raises `NotReady`."""
        made, composer = self._made.get(campaign, (0.0, None))
        now = time.monotonic()
        if composer is not None and now - made < _FRESH:
            self._made.move_to_end(campaign)
            return composer
        composer = await self._make(db, campaign)
        self._made[campaign] = now, composer
        self._made.move_to_end(campaign)
        while len(self._made) > _KEPT:
            self._made.popitem(last=False)
        return composer

    async def _make(self, db: Connection, campaign: int) -> Composer:
        row = await (await db.execute("SELECT * FROM campaign WHERE id = %s", [campaign])).fetchone()
        if row is None:
            raise NotReady("The campaign has been deleted.")
        name = row["from_address"].rpartition("@")[2].lower()
        domain = await (
            await db.execute(
                "SELECT bounce_host FROM domain WHERE name = %s AND workspace_id = %s", [name, row["workspace_id"]]
            )
        ).fetchone()
        if domain is None:
            raise NotReady(
                f"The domain {name} was removed while this campaign was being sent. Add it again and resume."
            )
        keys = await signing_keys(db, name, self._settings)
        try:
            program = compile_mail(row["kind"], row["subject"], row["source"])
        except TemplateError as error:  # it compiled at launch; a newer version may be stricter
            raise NotReady(
                f"The mail can no longer be compiled: {error} Cancel the campaign and send a new one."
            ) from error
        try:
            return Composer(
                workspace=row["workspace_id"],
                campaign=campaign,
                sender=Sender(row["from_name"], row["from_address"], row["reply_to"], domain["bounce_host"]),
                program=program,
                signers=[Signer(name, key.selector, key.private_key_der) for key in keys],
                base_url=await link_base(db, self._settings, row["workspace_id"], name),
                tracking=self._tracking,
                verp=self._verp,
            )
        except ValueError as error:  # a header that cannot be; preflight asks for addresses, so a program put it there
            raise NotReady(
                f"The sender or the address for answers can't stand in a mail ({error}). Cancel the campaign and send "
                "a new one with other addresses."
            ) from error
