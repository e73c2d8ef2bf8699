"""What the columns of a contact file are: which holds the address, and what the others are called in a mail."""

import re
from dataclasses import dataclass
from unicodedata import combining, normalize

from thurn.audience.csvfile import NotCsv

MOST = 200  # columns
LONGEST_VALUE = 10_000  # characters of one field

# The first of these that is there; "address" last: it may be a street's.
_EMAIL = (
    "email", "e_mail", "email_address", "e_mail_address", "emailaddress", "emailadresse", "e_mail_adresse",
    "email_adresse", "mail", "mailadresse", "mail_address", "correo", "correo_electronico", "courriel",
    "adresse_e_mail", "subscriber", "recipient", "address",
)  # fmt: skip
_LETTERS = str.maketrans({"ß": "ss", "æ": "ae", "ø": "o", "œ": "oe", "đ": "d", "ł": "l"})


@dataclass(frozen=True, slots=True)
class Columns:
    """The place of the address, and the field each other column fills ("" for the address itself)."""

    email: int
    fields: tuple[str, ...]


def field_name(title: str) -> str:
    """A column's title as a name for templates: `First Name` is `first_name`; "" when nothing is left of it."""
    folded = normalize("NFKD", title.lower().translate(_LETTERS))
    plain = "".join(letter for letter in folded if not combining(letter))
    name = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")[:60]
    return f"_{name}" if name[:1].isdigit() else name


def read_header(cells: list[str]) -> Columns:
    """What the header says; `NotCsv` when it names no address or too many columns."""
    while cells and not cells[-1].strip():
        cells = cells[:-1]
    if len(cells) > MOST:
        raise NotCsv(f"The file has {len(cells):,} columns; at most {MOST} can be imported.")
    names = [field_name(cell) for cell in cells]
    email = next((names.index(name) for name in _EMAIL if name in names), None)
    if email is None:
        if any("@" in cell for cell in cells):
            raise NotCsv("The first line must name the columns. Add one, such as “email,first_name”, and import again.")
        shown = ", ".join(cell.strip()[:40] for cell in cells[:8])
        raise NotCsv(f"No column is called “email”. The first line names: {shown}.")
    used = {"email"}
    fields = []
    for place, name in enumerate(names):
        if place == email:
            fields.append("")
            continue
        wanted = unique = name or f"column_{place + 1}"
        count = 1
        while unique in used:
            count += 1
            unique = f"{wanted}_{count}"
        used.add(unique)
        fields.append(unique)
    return Columns(email, tuple(fields))
