"""`make demo`: one command sends a real campaign through a real mail system and proves what happened.

Every step a person would take is taken the way a person would: by the `thurn` command. What happened is counted from
what the simulated receivers and Dovecot hold, then compared with what Thurn says; any difference is a failure.
"""

import argparse
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from thurn.cli.common import in_workspace
from thurn.db.connect import Connection
from thurn.mailhost.mailboxes import add_mailbox
from thurn.settings import Settings, load_settings
from thurn.simulate import client, demo_house
from thurn.simulate.demo_mailboxes import Mailboxes, look_into
from thurn.simulate.demo_proof import Proof, prove
from thurn.simulate.demo_webmail import look

console = Console(stderr=True, highlight=False)
LOCAL = 50
_PATIENCE = 240  # seconds for the last outcome
_LOGIN = f"owner@{demo_house.DOMAIN}"
_READER = demo_house.staff(1)[0]  # whose webmail is opened


class DemoError(Exception):
    """A step failed; the text says which and how."""


class Thurn:
    """The `thurn` command, as a person or a script would call it."""

    def __init__(self, state: Path) -> None:
        self._state = state

    def __call__(self, *arguments: str, stdin: str | None = None) -> Any:
        """Run `thurn ARGUMENTS --json` and return what it prints."""
        command = [str(Path(sys.executable).with_name("thurn")), *arguments, "--state", str(self._state), "--json"]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        if done.returncode:
            raise DemoError(f"thurn {' '.join(arguments)} failed:\n{done.stderr.strip()}\n{done.stdout.strip()}")
        return json.loads(done.stdout) if done.stdout.strip() else {}


def start(state: Path) -> None:
    """Bring every role up, the simulated internet included."""
    state.mkdir(mode=0o755, parents=True, exist_ok=True)
    config = state / "thurn.toml"
    if not config.exists():
        config.write_text('hostname = "mail.brotzeit.example"\nsimulate = true\nretry_first = 5\n')
    if not load_settings(state).simulate:
        raise DemoError(
            f"{state} is an installation that sends to the real internet. The demo does not touch it: "
            "give it another place with THURN_STATE=DIR."
        )
    up = subprocess.run(
        [str(Path(sys.executable).with_name("thurn")), "up", "--wait", "--simulate", "--state", str(state)], check=False
    )
    if up.returncode:
        raise DemoError("The installation did not start; the lines above say why.")


def furnish(thurn: Thurn, settings: Settings) -> dict[str, str]:
    """A login, a domain with its DNS records published and checked, mailboxes; returns the mailboxes' passwords."""
    kept = settings.state / "sim" / "demo.json"
    if kept.exists():
        passwords: dict[str, str] = json.loads(kept.read_text())
        return passwords
    passwords = {_LOGIN: thurn("user", "create", _LOGIN, "--name", "Anna Lindner")["password"]}
    thurn("domain", "add", demo_house.DOMAIN)
    client.publish(settings, thurn("domain", "show", demo_house.DOMAIN))
    thurn("domain", "check", demo_house.DOMAIN)
    passwords |= in_workspace(settings.state, "main", _mailboxes)  # fifty commands would take a minute
    kept.write_text(json.dumps(passwords))
    kept.chmod(0o600)
    return passwords


async def _mailboxes(db: Connection, workspace: int, settings: Settings) -> dict[str, str]:
    return {address: await add_mailbox(db, workspace, address=address) for address in demo_house.staff(LOCAL)}


def campaign(thurn: Thurn, settings: Settings, run: int, recipients: list[str]) -> int:
    """Import the contacts, make the mail, send it; returns the campaign's number."""
    folder = settings.state / "sim"
    contacts, mail = folder / f"contacts-{run}.csv", folder / "mail.html"
    demo_house.write_contacts(contacts, recipients)
    mail.write_text(demo_house.TEMPLATE, encoding="utf-8")
    name = f"Stollen, week {run}"
    imported = thurn("import", str(contacts), "--list", f"Customers {run}")
    if imported["refused"]:
        raise DemoError(f"{imported['refused']} rows of {contacts} were refused.")
    number = int(
        thurn(
            "campaign", "create", name, "--from", demo_house.SENDER, "--list", f"Customers {run}",
            "--html", str(mail), "--subject", demo_house.SUBJECT,
        )["campaign"]
    )  # fmt: skip
    thurn("campaign", "send", str(number))
    return number


def watch(thurn: Thurn, settings: Settings, number: int, recipients: int) -> None:
    """A progress bar until every recipient has an outcome and nothing more comes of the mails."""
    columns = (TextColumn("{task.description:24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars:
        handed = bars.add_task("Handed over", total=recipients)
        settled = bars.add_task("Delivered or bounced", total=recipients)
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            status = thurn("campaign", "status", str(number))
            tallies = status["tallies"]
            bars.update(handed, completed=tallies.get("handed_over", 0))
            outcomes = ("delivered", "bounced_hard", "bounced_soft", "suppressed", "failed")
            bars.update(settled, completed=sum(tallies.get(measure, 0) for measure in outcomes))
            if status["done"]:
                break
            time.sleep(0.5)
        else:
            raise DemoError(f"After {_PATIENCE} s the campaign is not done: thurn campaign status {number}")
    console.print("Readers open, click, complain and leave …")
    client.wait_until_quiet(settings, timeout=_PATIENCE)


def report(proof: Proof, seconds: float) -> dict[str, Any]:
    """Print the table for people, the differences if there are any; returns the last line's object."""
    console.print(f"\n{'':26}{'Thurn says':>12}{'receivers hold':>16}")
    for line in proof.lines:
        mark = "" if line.agrees else "   ← differs"
        console.print(f"{line.title:26}{line.thurn:>12,}{line.truth:>16,}{mark}")
    for problem in proof.problems:
        console.print(f"[red]{problem}[/red]")
    return {**proof.summary, "seconds": round(seconds, 1)}


def run_demo(state: Path, recipients: int) -> tuple[dict[str, Any], bool, dict[str, str]]:
    """The whole demo on `state`; the summary, whether all adds up, and the logins."""
    began = time.monotonic()
    start(state)
    settings, thurn = load_settings(state), Thurn(state)
    passwords = furnish(thurn, settings)
    mailboxes = {address: password for address, password in passwords.items() if address != _LOGIN}
    run = len(list((state / "sim").glob("contacts-*.csv"))) + 1
    outside = demo_house.customers(recipients - len(mailboxes), run)
    number = campaign(thurn, settings, run, outside + list(mailboxes))
    watch(thurn, settings, number, recipients)
    proof = _prove(thurn, settings, number, outside, mailboxes)
    webmail = _open_webmail(thurn, proof)
    summary = report(proof, time.monotonic() - began) | {"webmail": webmail}
    return summary, proof.agrees and webmail == "ok", passwords


def _open_webmail(thurn: Thurn, proof: Proof) -> str:
    """Whether a link opens a mailbox signed in, with the campaign's mail in it."""
    outcome = look(thurn("webmail", "link", _READER)["url"], _READER, demo_house.MARK) if proof.agrees else "not looked"
    console.print(f"Webmail of {_READER}: {'opens signed in' if outcome == 'ok' else f'[red]{outcome}[/red]'}")
    return outcome


def _prove(thurn: Thurn, settings: Settings, number: int, outside: list[str], mailboxes: dict[str, str]) -> Proof:
    console.print("Counting what the receivers hold, and checking every signature …")
    truth = client.truth(settings, campaign=number, expected=outside)
    # The last hits are held back for two seconds, until it can be told whether they come in a burst.
    end = time.monotonic() + 20
    while True:
        status = thurn("campaign", "status", str(number))
        inside: Mailboxes = look_into(settings, mailboxes, f"<{number}.1.lists.{demo_house.DOMAIN}>")
        proof = prove(status, truth, inside, len(outside) + len(mailboxes))
        if proof.agrees or time.monotonic() > end:
            return proof
        time.sleep(1)


def main() -> int:
    """Entry of `python -m thurn.simulate.demo`; 0 if everything adds up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--once", action="store_true", help="stop everything afterwards")
    parser.add_argument("--recipients", type=int, default=2000)
    parser.add_argument("--state", type=Path, default=None)
    arguments = parser.parse_args()
    state = load_settings(arguments.state).state
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    summary: dict[str, Any] | None = None
    agrees = False
    try:
        summary, agrees, passwords = run_demo(state, arguments.recipients)
        if not arguments.once:
            _stay(Thurn(state), load_settings(state), passwords)
    except DemoError as error:
        console.print(f"[red]{error}[/red]")
    except KeyboardInterrupt:
        console.print("Stopping …")
    finally:
        subprocess.run([str(Path(sys.executable).with_name("thurn")), "down", "--state", str(state)], check=False)
    if summary is not None:
        print(json.dumps(summary))
    return 0 if agrees else 1


def _stay(thurn: Thurn, settings: Settings, passwords: dict[str, str]) -> None:
    link = thurn("webmail", "link", _READER, "--minutes", "1440")["url"]
    console.print(f"\nOpen   {settings.url}/sign-in")
    console.print(f"Sign in as  {_LOGIN}  with  {passwords[_LOGIN]}")
    console.print(f"\nMailbox  {settings.url}/mailbox  of  {_READER}  with  {passwords[_READER]}")
    console.print("Everything stops with Ctrl-C.")
    console.print(f"\nRead mail, signed in (the link is good once):\n{link}", soft_wrap=True)
    signal.pause()


if __name__ == "__main__":
    sys.exit(main())
