"""People who sign in to the web interface, their place in a workspace, and API keys."""

import secrets
from hashlib import sha256
from typing import Literal

from email_validator import EmailNotValidError, validate_email

from thurn.accounts import passwords
from thurn.db.connect import Connection, Row
from thurn.db.fetch import maybe, one, rows
from thurn.problems import Conflict, Invalid, NotFound

Role = Literal["owner", "editor", "viewer"]
KEY_PREFIX = "thurn_"
_SHOWN = len(KEY_PREFIX) + 6  # characters of a key that stay visible


def clean_email(email: str) -> str:
    """The address as we keep it; `Invalid` says what is wrong with it."""
    try:
        return validate_email(email.strip(), check_deliverability=False, test_environment=True).normalized
    except EmailNotValidError as error:
        raise Invalid("email", str(error)) from error


def check_password(password: str) -> str:
    """The password itself; `Invalid` when it is too short, or too long to be one."""
    if len(password) < passwords.SHORTEST:
        raise Invalid("password", f"A password needs at least {passwords.SHORTEST} characters.")
    if len(password) > passwords.LONGEST or "\0" in password:
        raise Invalid("password", f"A password has at most {passwords.LONGEST} characters and no NUL.")
    return password


async def create_account(
    db: Connection, *, email: str, password: str, workspace: int, role: Role = "owner", name: str = ""
) -> int:
    """Make an account and let it into the workspace; returns its id. `Invalid`, or `Conflict` for a known address."""
    email, password = clean_email(email), check_password(password)
    hashed = await passwords.make_hash(password)
    row = await maybe(
        db,
        """INSERT INTO account (email, name, password_hash) VALUES (%s, %s, %s)
           ON CONFLICT (lower(email)) DO NOTHING RETURNING id""",
        [email, name.strip(), hashed],
    )
    if row is None:
        raise Conflict(f"There is an account for {email} already.")
    await db.execute(
        "INSERT INTO membership (account_id, workspace_id, role) VALUES (%s, %s, %s)", [row["id"], workspace, role]
    )
    return int(row["id"])


async def set_password(db: Connection, *, account: int, password: str) -> None:
    """Change the password and end every session of the account."""
    hashed = await passwords.make_hash(check_password(password))
    await db.execute("UPDATE account SET password_hash = %s WHERE id = %s", [hashed, account])
    await db.execute("DELETE FROM session WHERE account_id = %s", [account])


async def members(db: Connection, workspace: int) -> list[Row]:
    """Who is in the workspace: id, email, name, role."""
    return await rows(
        db,
        """SELECT a.id, a.email, a.name, m.role FROM membership m JOIN account a ON a.id = m.account_id
           WHERE m.workspace_id = %s ORDER BY a.id LIMIT 500""",
        [workspace],
    )


async def workspaces_of(db: Connection, account: int) -> list[Row]:
    """Where the account is a member: id, slug, name, role."""
    return await rows(
        db,
        """SELECT w.id, w.slug, w.name, m.role FROM membership m JOIN workspace w ON w.id = m.workspace_id
           WHERE m.account_id = %s ORDER BY w.id LIMIT 500""",
        [account],
    )


def hash_key(key: str) -> bytes:
    """What is stored of a key. A random key of 256 bits needs no slow hash."""
    return sha256(key.encode("utf-8", "surrogatepass")).digest()


async def create_api_key(db: Connection, workspace: int, name: str) -> tuple[int, str]:
    """A new key as (id, key). The key is not stored: this is the only time it can be shown."""
    name = name.strip()
    if not name or len(name) > 100:
        raise Invalid("name", "A key needs a name of 1 to 100 characters, so that you can tell it from others.")
    key = KEY_PREFIX + secrets.token_urlsafe(32)
    row = await one(
        db,
        "INSERT INTO api_key (workspace_id, name, prefix, secret_hash) VALUES (%s, %s, %s, %s) RETURNING id",
        [workspace, name, key[:_SHOWN], hash_key(key)],
    )
    return int(row["id"]), key


async def api_keys(db: Connection) -> list[Row]:
    """The workspace's keys, newest first, revoked ones too."""
    return await rows(
        db,
        "SELECT id, name, prefix, created_at, last_used_at, revoked_at FROM api_key ORDER BY id DESC LIMIT 500",
    )


async def revoke_api_key(db: Connection, key: int) -> None:
    """Make a key useless from now on; again does nothing. `NotFound` if the workspace has no such key."""
    revoked = await maybe(
        db, "UPDATE api_key SET revoked_at = coalesce(revoked_at, now()) WHERE id = %s RETURNING id", [key]
    )
    if revoked is None:
        raise NotFound("There is no such API key.")
