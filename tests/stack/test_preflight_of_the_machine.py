"""What `thurn up` says before it starts anything, and what it writes into a state directory."""

import json
import os
import socket
import ssl
import stat
from contextlib import ExitStack
from pathlib import Path

import pytest
from cryptography import x509
from typer import Typer
from typer.testing import CliRunner

from thurn.cli import stack as commands
from thurn.settings import Settings, allocate_ports, load_settings
from thurn.stack import checks, tls
from thurn.stack.files import Directory, File, place
from thurn.stack.health import probe
from thurn.stack.processes import of_state

SHORT = Path("/tmp/short")


@pytest.fixture
def runner() -> tuple[CliRunner, Typer]:
    app = Typer()
    commands.register(app)
    return CliRunner(), app


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("/srv/thurn", ""),
        ("/srv/with space", "characters in its name"),
        ("/srv/50%", "characters in its name"),
        ("/srv/a;b", "characters in its name"),
        ("/srv/" + "x" * 60, "too long (65 characters)"),
    ],
)
def test_state_directories_that_daemons_cannot_bear_are_refused(path: str, complaint: str) -> None:
    found = checks.place_of_state(Path(path))
    assert bool(found) == bool(complaint)
    assert complaint in "".join(found)


def test_a_folder_that_others_may_not_enter_is_named_with_the_remedy(tmp_path: Path) -> None:
    closed = tmp_path / "root"
    (closed / "checkout").mkdir(parents=True)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and folder != Path("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o011)
    assert checks.enterable(closed / "checkout" / "var") == []
    closed.chmod(0o700)
    (complaint,) = checks.enterable(closed / "checkout" / "var")
    assert f"inside {closed}, which other users may not enter" in complaint
    assert f"chmod o+x {closed}" in complaint


def test_this_machine_has_what_thurn_needs() -> None:
    assert checks.machine() == []


def test_missing_packages_and_users_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_PROGRAMS", {"/usr/bin/nowhere": "nowhere-server"})
    assert "packages: nowhere-server. Run `deploy/install-packages`" in checks.machine()[0]
    monkeypatch.setattr(checks, "_PROGRAMS", {})
    monkeypatch.setattr(checks, "_USERS", ("thurn", "nobody-of-this-name"))
    assert "system users: nobody-of-this-name" in checks.machine()[0]


@pytest.mark.parametrize(
    ("version", "fine"), [("2.3.19.1 (9b53102964)\n", True), ("2.4.1-4 (7d8c0e5759)\n", False), ("2.2.36\n", False)]
)
def test_a_dovecot_that_reads_another_language_is_refused(version: str, fine: bool) -> None:
    complaints = checks.dovecot(version)
    assert (not complaints) == fine
    assert fine or f"Dovecot {version.split()[0]}." in complaints[0]


def test_only_root_may_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "must be started by root" in checks.complaints(SHORT)[0]


def test_files_are_rewritten_only_when_they_differ(tmp_path: Path) -> None:
    wanted = [Directory("a", 0o750), File("a/x", "one\n", 0o640)]
    assert place(tmp_path, wanted) == {"a/x"}
    before = (tmp_path / "a" / "x").stat()
    assert place(tmp_path, wanted) == set()
    assert (tmp_path / "a" / "x").stat() == before
    assert place(tmp_path, [File("a/x", "two\n", 0o640)]) == {"a/x"}
    assert stat.S_IMODE((tmp_path / "a" / "x").stat().st_mode) == 0o640
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["x"], "a leftover of writing"


def test_wrong_modes_and_owners_are_put_right(tmp_path: Path) -> None:
    place(tmp_path, [File("x", "secret\n", 0o600)])
    (tmp_path / "x").chmod(0o666)
    os.chown(tmp_path / "x", 12345, 12345)
    assert place(tmp_path, [File("x", "secret\n", 0o600)]) == set()
    found = (tmp_path / "x").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o600, 0, 0)


def test_the_certificate_is_one_that_clients_can_pin(tmp_path: Path) -> None:
    place(tmp_path, [*tls.directories(), *tls.self_signed("mail.example")])
    assert not tls.outdated(tmp_path, "mail.example")
    assert tls.outdated(tmp_path, "other.example"), "the mail host got another name"
    context = ssl.create_default_context(cafile=str(tmp_path / tls.CERTIFICATE))
    context.load_cert_chain(tmp_path / tls.PAIR)
    certificate = x509.load_pem_x509_certificate((tmp_path / tls.CERTIFICATE).read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["mail.example", "localhost"]
    assert stat.S_IMODE((tmp_path / tls.PAIR).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "simulate = true\n"),
        ("", "simulate = true\n"),
        ('hostname = "m.example"\n', 'simulate = true\nhostname = "m.example"\n'),
        ('simulate = false\nhostname = "m.example"\n', 'simulate = true\nhostname = "m.example"\n'),
        ("simulate_seed = 7\n", "simulate = true\nsimulate_seed = 7\n"),
    ],
)
def test_simulate_is_remembered_and_the_rest_is_kept(tmp_path: Path, before: str | None, after: str) -> None:
    if before is not None:
        (tmp_path / "thurn.toml").write_text(before)
    commands.remember_simulate(tmp_path)
    assert (tmp_path / "thurn.toml").read_text() == after
    assert load_settings(tmp_path).simulate


def test_status_of_an_installation_that_never_ran(tmp_path: Path, runner: tuple[CliRunner, Typer]) -> None:
    client, app = runner
    done = client.invoke(app, ["status", "--json", "--state", str(tmp_path)])
    data = json.loads(done.stdout)
    assert done.exit_code == 3
    assert data["roles"]["mx"] == {"state": "stopped", "health": "-", "pid": None, "since": None}
    assert data["urls"]["webmail"] is None
    assert "simulate" not in data["roles"]


def test_down_of_an_installation_that_never_ran_is_no_error(tmp_path: Path, runner: tuple[CliRunner, Typer]) -> None:
    client, app = runner
    assert client.invoke(app, ["down", "--state", str(tmp_path)]).exit_code == 0
    assert of_state(tmp_path) == []


def test_guard_is_well_only_when_the_daemons_can_ask_it(tmp_path: Path) -> None:
    """Whatever sign of life is left of one that was killed."""
    settings = Settings(state=tmp_path)
    allocate_ports(settings)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "guard.alive").touch()
    with ExitStack() as doors:
        for door in ("guard", "guard_policy", "guard_maps"):
            assert "refused" in probe("guard", settings)
            doors.enter_context(socket.create_server(("127.0.0.1", settings.port[door])))
        assert probe("guard", settings) == ""
    (tmp_path / "run" / "guard.alive").unlink()
    assert probe("guard", settings) == "gives no sign of life"


def test_a_database_that_does_not_answer_is_said_in_words(tmp_path: Path, runner: tuple[CliRunner, Typer]) -> None:
    client, app = runner
    done = client.invoke(app, ["migrate", "--state", str(tmp_path)])
    assert done.exit_code == 1
    assert "The database cannot be reached" in done.stderr
    assert "thurn up db" in done.stderr
