"""Templates as a workspace keeps them. A template that does not compile is not saved."""

import asyncio

from thurn.content.errors import TemplateError
from thurn.content.program import Kind, compile_mail
from thurn.db.connect import Connection, Row
from thurn.db.fetch import maybe, one, rows
from thurn.problems import Conflict, Invalid, NotFound

KINDS: tuple[Kind, ...] = ("markdown", "html")
LONGEST_NAME = 120
LONGEST_SUBJECT = 500


async def template_page(
    db: Connection, *, before: int | None = None, after: int | None = None, limit: int = 25, query: str = ""
) -> list[Row]:
    """Templates, newest first: rows of `template` without `source`. `before`: the last id of the page before this
    one; `after`: the first id of the page behind it."""
    found = await rows(
        db,
        """SELECT id, name, kind, subject, created_at, updated_at FROM template
           WHERE (%(before)s::int IS NULL OR id < %(before)s) AND (%(after)s::int IS NULL OR id > %(after)s)
             AND (%(query)s = '' OR strpos(lower(name), lower(%(query)s)) > 0
                  OR strpos(lower(subject), lower(%(query)s)) > 0)
           ORDER BY CASE WHEN %(after)s::int IS NULL THEN -id ELSE id END LIMIT %(limit)s""",
        {"before": before, "after": after, "limit": limit, "query": query.strip()},
    )
    return found if after is None else found[::-1]


async def count_templates(db: Connection) -> int:
    """How many there are."""
    return int((await one(db, "SELECT count(*) AS n FROM template"))["n"])


async def get_template(db: Connection, template: int) -> Row:
    """The row of `template`; NotFound."""
    row = await maybe(db, "SELECT * FROM template WHERE id = %s", [template])
    if row is None:
        raise NotFound("There is no such template.")
    return row


async def create_template(db: Connection, workspace: int, *, name: str, kind: str, subject: str, source: str) -> int:
    """Save a new template and return its id. Raises Invalid (field and reason, with the line) and Conflict."""
    values = await _checked(name, kind, subject, source)
    await _free_name(db, values["name"], 0)
    row = await one(
        db,
        """INSERT INTO template (workspace_id, name, kind, subject, source)
           VALUES (%(workspace)s, %(name)s, %(kind)s, %(subject)s, %(source)s) RETURNING id""",
        {"workspace": workspace, **values},
    )
    return int(row["id"])


async def update_template(db: Connection, template: int, *, name: str, kind: str, subject: str, source: str) -> None:
    """Change a template; launched campaigns keep what they had. Raises as `create_template`, NotFound."""
    values = await _checked(name, kind, subject, source)
    await _free_name(db, values["name"], template)
    changed = await db.execute(
        """UPDATE template SET name = %(name)s, kind = %(kind)s, subject = %(subject)s, source = %(source)s,
             updated_at = now() WHERE id = %(id)s""",
        {"id": template, **values},
    )
    if not changed.rowcount:
        raise NotFound("There is no such template.")


async def delete_template(db: Connection, template: int) -> None:
    """Delete a template; drafts that use it are left without one. Raises NotFound."""
    if not (await db.execute("DELETE FROM template WHERE id = %s", [template])).rowcount:
        raise NotFound("There is no such template.")


async def drafts_using(db: Connection, template: int) -> int:
    """How many campaigns that were not launched yet use it."""
    query = "SELECT count(*) AS n FROM campaign WHERE template_id = %s AND state = 'draft'"
    return int((await one(db, query, [template]))["n"])


async def known_fields(db: Connection) -> list[str]:
    """Names of the fields that the newest contacts have, for whoever writes a template."""
    found = await rows(
        db,
        """SELECT name, count(*) AS n FROM (SELECT fields FROM contact ORDER BY id DESC LIMIT 500) AS newest,
             jsonb_object_keys(fields) AS name GROUP BY name ORDER BY n DESC, name LIMIT 30""",
    )
    return [row["name"] for row in found]


async def sample_contact(db: Connection) -> dict[str, str]:
    """Whom a preview is for: the newest contact that has fields, else somebody made up."""
    row = await maybe(
        db,
        """SELECT email, fields FROM (SELECT id, email, fields FROM contact ORDER BY id DESC LIMIT 100) AS newest
           ORDER BY fields = '{}', id DESC LIMIT 1""",
    )
    if row is None:
        return {"email": "theresa@post.example", "first_name": "Theresa", "last_name": "Aumüller", "city": "Regensburg"}
    return {**{str(key): str(value) for key, value in row["fields"].items()}, "email": row["email"]}


async def _checked(name: str, kind: str, subject: str, source: str) -> dict[str, str]:
    """The values as they are stored, or Invalid."""
    name, subject = " ".join(name.split()), " ".join(subject.split())
    if not name:
        raise Invalid("name", "Give the template a name, so that you find it again.")
    if len(name) > LONGEST_NAME:
        raise Invalid("name", f"A name may have {LONGEST_NAME} characters; this one has {len(name)}.")
    if kind not in KINDS:
        raise Invalid("kind", "A template is written in Markdown or in HTML.")
    if not subject:
        raise Invalid("subject", "Write a subject: it is what people see first.")
    if len(subject) > LONGEST_SUBJECT:
        raise Invalid("subject", f"A subject may have {LONGEST_SUBJECT} characters; this one has {len(subject)}.")
    if not source.strip():
        raise Invalid("source", "The mail is empty. Write something first.")
    try:
        # A long source takes a second; others are served meanwhile.
        await asyncio.to_thread(compile_mail, "html" if kind == "html" else "markdown", subject, source)
    except TemplateError as fault:
        raise Invalid(fault.field, str(fault)) from fault
    return {"name": name, "kind": kind, "subject": subject, "source": source.replace("\r\n", "\n")}


async def _free_name(db: Connection, name: str, template: int) -> None:
    """Raise Conflict if another template has this name."""
    if await maybe(db, "SELECT 1 FROM template WHERE name = %s AND id <> %s", [name, template]):
        raise Conflict(f"There is a template called “{name}” already. Choose another name.")
