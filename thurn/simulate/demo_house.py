"""The house of the demo: a bakery with a domain, staff mailboxes, customers and a newsletter."""

import csv
import random
from collections.abc import Sequence
from pathlib import Path

from thurn.simulate.world import DOMAINS

DOMAIN = "brotzeit.example"
SENDER = f"Brotzeit <post@{DOMAIN}>"

# Roughly how a German company's list is spread over providers.
_SHARES = {
    "gmail.example": 30,
    "gmx.example": 14,
    "web.example": 10,
    "outlook.example": 10,
    "hotmail.example": 6,
    "icloud.example": 8,
    "yahoo.example": 5,
}
_FIRST = [
    "Anna",
    "Ben",
    "Clara",
    "David",
    "Elif",
    "Finn",
    "Greta",
    "Hannes",
    "Ida",
    "Jonas",
    "Katja",
    "Leo",
    "Mia",
    "Noah",
    "Olga",
    "Paul",
    "Rosa",
    "Samir",
    "Tilda",
    "Zoë",
]
_LAST = [
    "Bauer",
    "Demir",
    "Fischer",
    "Graf",
    "Huber",
    "Jansen",
    "Klein",
    "Lang",
    "Meyer",
    "Nowak",
    "Peters",
    "Roth",
    "Schulz",
    "Vogel",
    "Weber",
    "Yilmaz",
]
_CITIES = ["Nürnberg", "Fürth", "Erlangen", "Schwabach", "Bamberg", "Ansbach"]

MARK = "the stollen is out of the oven"
SUBJECT = "{{ contact.first_name }}, " + MARK
TEMPLATE = """<!doctype html>
<html><head><title>Brotzeit</title><style>
  body { margin: 0; background: #f4efe6; font-family: Georgia, serif; color: #2b2118; }
  .sheet { background: #ffffff; max-width: 600px; margin: 0 auto; padding: 32px; }
  .button { background: #7a2e1d; color: #ffffff; padding: 12px 20px; text-decoration: none; }
  .foot { color: #6b6258; font-size: 13px; }
</style></head>
<body><table role="presentation" width="100%"><tr><td><div class="sheet">
  <h1>Good morning, {{ contact.first_name | default: "neighbour" }}</h1>
  <p>The first stollen of the year left the oven at four this morning. The shop in
     {{ contact.city | default: "your town" }} keeps one for you until Saturday if you order now.</p>
  <p><a class="button" href="https://shop.brotzeit.example/stollen?from=mail">Order a stollen</a></p>
  <h2>Also this week</h2>
  <ul>
    <li><a href="https://shop.brotzeit.example/roggen">Rye with caraway</a>, baked on Tuesdays and Fridays</li>
    <li><a href="https://www.brotzeit.example/shops">Our {{ contact.city }} opening hours</a> in Advent</li>
  </ul>
  <p>See you soon,<br>your bakers</p>
  <p class="foot">You get this mail at {{ contact.email }} because you signed up as customer
     {{ contact.customer_number | default: "of ours" }}. <a href="{{ unsubscribe_url }}">Unsubscribe</a></p>
</div></td></tr></table></body></html>
"""


def staff(count: int) -> list[str]:
    """Addresses of the local mailboxes."""
    return [f"staff{number:02}@{DOMAIN}" for number in range(1, count + 1)]


def customers(count: int, run: int) -> list[str]:
    """Addresses at simulated providers, other ones in each run; what becomes of each is the simulator's to decide."""
    dice = random.Random(f"brotzeit {run}")
    small = [domain for domain in DOMAINS if domain not in _SHARES]
    domains = dice.choices([*_SHARES, "small"], [*_SHARES.values(), 100 - sum(_SHARES.values())], k=count)
    return [
        f"{dice.choice(_FIRST).lower().replace('ë', 'e')}.{dice.choice(_LAST).lower()}.{run}x{number}@"
        f"{dice.choice(small) if domain == 'small' else domain}"
        for number, domain in enumerate(domains)
    ]


def write_contacts(path: Path, addresses: Sequence[str]) -> None:
    """A CSV as a till or a shop would export it."""
    dice = random.Random(len(addresses))
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["E-Mail", "First name", "City", "Customer number"])
        for number, address in enumerate(addresses, 1):
            name = address.partition(".")[0].title() if "." in address.partition("@")[0] else dice.choice(_FIRST)
            rows.writerow([address, name, dice.choice(_CITIES), f"B{number:05}"])
