"""The `thurn` command as a process of its own finds it: only the file of the group at hand is loaded."""

import json
import subprocess
import sys

import pytest

LISTED = """
import json, sys, typer
from thurn.cli import build
found = typer.main.get_command(build(sys.argv[2] if len(sys.argv) > 2 else None)).commands[sys.argv[1]]
print(json.dumps(sorted(found.commands)))
"""


def commands(*words: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", LISTED, *words], capture_output=True, text=True, check=True)
    found: list[str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("group", ["domain", "mailbox"])
def test_a_group_whose_commands_are_in_several_files_has_them_all_when_it_is_loaded_alone(group: str) -> None:
    assert commands(group, group) == commands(group)


def test_thurn_mailbox_resets_two_factor_signs_out_and_brings_back() -> None:
    assert {"reset-two-factor", "sign-out", "absence", "remove", "restore"} <= set(commands("mailbox", "mailbox"))
