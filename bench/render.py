"""What it costs to fill a compiled mail: µs for subject, text and HTML of one recipient."""

import json
import sys
import time
from pathlib import Path

from thurn.content.program import compile_mail

LOREM = (
    "Brewed since 1516 in the cellar below the house, our new lager rests for nine weeks and is filled by hand. "
    "Come by from Thursday to Saturday, or have a case brought to your door. "
)


class Addresses:
    """Addresses as the sender makes them, already made."""

    open = "https://mail.brotzeit.example/o/AQEBAAAAAAABhqDm3Qk8nR2c"
    unsubscribe = "https://mail.brotzeit.example/u/AQEBAAAAAAABhqDm3Qk8nR2c"

    def click(self, number: int) -> str:
        return f"https://mail.brotzeit.example/c/AQEBAAAAAAABhqDm3Qk8nR2c{number}"


def sample() -> str:
    """A 5 KB HTML mail with 4 personal fields and 3 tracked links."""
    links = "".join(f'<p><a href="https://shop.example/{n}?from=mail">Offer {n}</a></p>' for n in range(3))
    body = (
        '<p>Hello {{ contact.first_name | default: "friend" }} {{ contact.last_name }} from {{ contact.city }}, '
        f"your number is {{{{ contact.number }}}}.</p>{links}"
    )
    words = LOREM * 24
    return f'<html><body>{body}<p>{words[:4300]}</p><a href="{{{{ unsubscribe_url }}}}">Leave</a></body></html>'


def main() -> None:
    """Measure and print."""
    program = compile_mail("html", "{{ contact.first_name }}, the lager is ready", sample())
    contacts = [
        {"first_name": "Jörg", "last_name": f"Müller {n}", "city": "Regensburg", "number": str(n)} for n in range(1000)
    ]
    urls, rounds, best = Addresses(), 20, float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        for contact in contacts:
            program.render(contact, urls)
        best = min(best, (time.perf_counter() - start) / len(contacts) * 1e6)
    result = {"us_per_render": round(best, 1), "html_bytes": len(program.render(contacts[0], urls).html)}
    print(json.dumps(result))
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
