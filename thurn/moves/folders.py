"""Which folder here takes the mail of which folder there: pure.

What a folder is for (Sent, Drafts, Trash, Junk, Archive) is told by its attribute (RFC 6154), else by the names that
mail programs give it in English, German and French. All others keep their name, as far as a Maildir can have it.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

MOST = 5_000  # folders of one mailbox
_LONGEST_PART, _LONGEST, _DEEPEST = 80, 200, 20
SEPARATOR = "."  # of our Dovecot: a Maildir's own

_SPECIAL = {b"\\sent": "Sent", b"\\drafts": "Drafts", b"\\trash": "Trash", b"\\junk": "Junk", b"\\archive": "Archive"}
# Folders that show again what other folders hold.
_VIEWS = frozenset({b"\\all", b"\\flagged", b"\\important"})
_CLOSED = frozenset({b"\\noselect", b"\\nonexistent"})
_NAMES = {
    "Sent": "sent, sent items, sent messages, sent mail, sent-mail, gesendet, gesendete elemente, gesendete objekte, "
    "gesendete nachrichten, envoyés, envoyes, éléments envoyés, messages envoyés, objets envoyés",
    "Drafts": "drafts, draft, entwürfe, entwurf, brouillons, brouillon",
    "Trash": "trash, bin, deleted, deleted items, deleted messages, papierkorb, gelöscht, gelöschte elemente, "
    "gelöschte objekte, corbeille, éléments supprimés, messages supprimés",
    "Junk": "junk, spam, junk e-mail, junk email, junk mail, bulk mail, spamverdacht, spam-verdacht, unerwünscht, "
    "courrier indésirable, indésirables, pourriel",
    "Archive": "archive, archives, archiv, archivage",
}
_BY_NAME = {name: use for use, names in _NAMES.items() for name in names.split(", ")}
# Dovecot refuses these in names of a Maildir's folders; `.` and `/` would make folders in folders.
_UNFIT = re.compile(r"[./\\*%~\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder there and the one here."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Left:
    """A folder that is not brought, and why."""

    source: str
    reason: str


Listed = tuple[Iterable[bytes], bytes | None, str]  # flags, separator, name, as LIST says


def plan(
    listed: Iterable[Listed], *, prefix: str = "", foreign: Iterable[str] = ()
) -> tuple[list[Folder], list[Left]]:  # fmt: skip
    """What goes where. `prefix`: of the personal namespace; `foreign`: prefixes of what is others' (RFC 2342)."""
    entries = [(frozenset(flag.lower() for flag in flags), _text(sep), name) for flags, sep, name in listed]
    if not prefix:
        prefix = _guessed_prefix(entries)
    folders: dict[str, Folder] = {}
    left: list[Left] = []
    others = tuple(each for each in foreign if each)
    for flags, separator, name in entries[:MOST]:
        if flags & _CLOSED or name in folders:
            continue
        if others and name.startswith(others):
            left.append(Left(name, "It belongs to somebody else, or is shared."))
        elif flags & _VIEWS:
            left.append(Left(name, "It only shows again what other folders hold."))
        else:
            folders[name] = Folder(name, _target(name, separator, flags, prefix))
    if len(entries) > MOST:
        left.append(Left("", f"There are more than {MOST} folders; the others were not looked at."))
    return sorted(folders.values(), key=lambda folder: (folder.source.upper() != "INBOX", folder.source)), left


def _target(name: str, separator: str, flags: frozenset[bytes], prefix: str) -> str:
    if name.upper() == "INBOX":
        return "INBOX"
    if marked := [use for flag, use in _SPECIAL.items() if flag in flags]:
        return marked[0]
    own = name.removeprefix(prefix) if prefix and name != prefix.rstrip(separator or "/") else name
    parts = own.split(separator) if separator else [own]
    if len(parts) == 1 and (use := _BY_NAME.get(parts[0].strip().casefold())):
        return use
    tidy = [_part(part) for part in parts]
    if len(tidy) > _DEEPEST:
        tidy = [*tidy[: _DEEPEST - 1], "-".join(tidy[_DEEPEST - 1 :])[:_LONGEST_PART]]
    if tidy[0].upper() == "INBOX":
        tidy[0] = "INBOX" if len(tidy) > 1 else "INBOX_"
    joined = SEPARATOR.join(tidy)
    while len(joined.encode()) > _LONGEST:
        joined = joined[:-1].rstrip(SEPARATOR)
    return joined


def _part(part: str) -> str:
    return _UNFIT.sub("_", part).strip()[:_LONGEST_PART] or "_"


def _guessed_prefix(entries: list[tuple[frozenset[bytes], str, str]]) -> str:
    """`INBOX.` when every folder is below the inbox (Courier's way), else none."""
    below = [(name, separator) for _, separator, name in entries if name.upper() != "INBOX"]
    if below and all(separator and name.upper().startswith(f"INBOX{separator}") for name, separator in below):
        return below[0][0][: len("INBOX") + 1]
    return ""


def _text(separator: bytes | None) -> str:
    return separator.decode("ascii", "replace") if separator else ""
