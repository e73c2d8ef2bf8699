"""What the tests of rendered configuration share: a state directory that is nowhere, ports, plans, Postfix's files."""

import re
from pathlib import Path

from thurn.settings import SERVICES
from thurn.stack import postfix_mx, postfix_out
from thurn.stack.files import File
from thurn.stack.out_plan import Egress, Override, Plan

STATE = Path("/srv/thurn")
EVERYWHERE = "0.0.0.0"  # noqa: S104 - rendered, not bound
PORTS = {service: 2501 + i for i, service in enumerate(SERVICES)}
ONE = Plan()
THREE = Plan(
    (
        Egress("e1"),
        Egress("four", bind4="192.0.2.4", helo="four.example"),
        Egress("six", bind6="2001:db8::6", helo="six.example"),
    ),
    (Override("", "google", connections=7), Override("six", "google", connections=2, per_connection=9)),
)


def mx(
    *, listen: str = "127.0.0.1", simulate: bool = True, smtp: int = 2501, people: Egress | None = None
) -> dict[str, str]:
    return by_path(
        postfix_mx.render(
            STATE,
            PORTS | {"smtp": smtp},
            hostname="mail.example",
            listen=listen,
            database="postgresql://thurn_postfix:pw@/thurn?host=/srv/thurn/db/run",
            retry_first=300,
            simulate=simulate,
            people=people,
        )
    )


def out(
    *,
    listen: str = "127.0.0.1",
    simulate: bool = True,
    smtp: int = 2501,
    retry_first: int = 300,
    plan: Plan = ONE,
) -> dict[str, str]:
    ports = PORTS | {"smtp": smtp}
    rendered = postfix_out.render(
        STATE,
        ports,
        hostname="mail.example",
        retry_first=retry_first,
        retry_hours=48,
        simulate=simulate,
        plan=plan,
    )
    return by_path([*rendered, *postfix_out.first_files(ports, plan, listen=listen, simulate=simulate)])


def by_path(files: list[File]) -> dict[str, str]:
    return {file.path: file.text for file in files}


def parameter(text: str, name: str) -> str:
    """The value of a parameter of main.cf."""
    found = re.findall(rf"(?m)^{re.escape(name)} = ?(.*)$", text)
    assert len(found) == 1, f"{name} stands {len(found)} times"
    return str(found[0])


def services(text: str) -> dict[str, str]:
    return {part.split()[0]: part for part in re.split(r"(?m)^(?=\S)", text) if part and not part.startswith("#")}
