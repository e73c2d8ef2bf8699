"""Roundcube's and PHP's configuration as functions of the installation."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from thurn.settings import SERVICES
from thurn.stack import webmail
from thurn.stack.checks import php as missing_php
from thurn.stack.files import File, Link
from thurn.stack.roundcube_config import PLUGINS, config, dsn, php, plugin_configs

STATE = Path("/srv/thurn")
PORTS = {service: 2501 + i for i, service in enumerate(SERVICES)}
DATABASE = "host=/srv/thurn/db/run port=5432 dbname=thurn user=thurn_webmail password=SECRET"
PORTAL = "https://thurn.example"
SECRETS = {"key": "SECRET" + "k" * 40, "guard": "SECRET-guard"}


def rendered(*, https: bool = False) -> list[File | Link]:
    return webmail.render(STATE, PORTS, database=DATABASE, secrets=SECRETS, portal=PORTAL, https=https)


def values(*, https: bool) -> dict[str, Any]:
    """Roundcube's configuration as PHP reads it."""
    text = config(STATE, PORTS, database=DATABASE, secrets=SECRETS, portal=PORTAL, https=https, largest=36)
    read = f"eval(substr({php(text)}, 5)); echo json_encode($config);"
    done = subprocess.run(["php", "-n", "-r", read], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("value", "source"),
    [
        (None, "null"),
        (True, "true"),
        (0, "0"),
        ("", "''"),
        ("it's", "'it\\'s'"),
        ("\\", "'\\\\'"),
        ("\\'", "'\\\\\\''"),
        ("$x {$y} \n <?php ?>", "'$x {$y} \n <?php ?>'"),
        (["a", 1, False], "['a', 1, false]"),
        ({"k'": {"n": None}}, "['k\\'' => ['n' => null]]"),
    ],
)
def test_a_value_becomes_php_source(value: Any, source: str) -> None:
    assert php(value) == source


@pytest.mark.parametrize("text", ["it's", "\\", "\\'", "$x", "é\n", "'; system('id'); //", "?>", "\\\\'"])
def test_php_reads_back_what_was_written(text: str) -> None:
    done = subprocess.run(["php", "-n", "-r", f"echo {php(text)};"], capture_output=True, text=True, check=True)
    assert done.stdout == text


@pytest.mark.parametrize(
    ("conninfo", "expected"),
    [
        (DATABASE, "pgsql://thurn_webmail:SECRET@unix(%2Fsrv%2Fthurn%2Fdb%2Frun:5432)/thurn"),
        ("host=db.example dbname=a/b user=u@v password='p@:/?'",
         "pgsql://u%40v:p%40%3A%2F%3F@tcp(db.example:5432)/a%2Fb"),
        ("host=h port=6 dbname=d user=u password=p sslmode=require", "pgsql://u:p@tcp(h:6)/d?sslmode=require"),
    ],
)  # fmt: skip
def test_roundcube_gets_the_database_as_its_own_kind_of_name(conninfo: str, expected: str) -> None:
    assert dsn(conninfo) == expected


def test_only_webmails_user_reads_what_holds_a_secret() -> None:
    holders = [file for file in rendered() if isinstance(file, File) and "SECRET" in file.text]
    assert [(file.path, file.mode, file.owner) for file in holders] == [
        ("webmail/config/config.inc.php", 0o640, "root:thurn-web")
    ]
    assert not [file for file in rendered() if isinstance(file, File) and file.owner == "thurn-web:thurn-web"]


@pytest.mark.parametrize(("https", "cookie"), [(False, "webmail-session"), (True, "__Host-webmail-session")])
def test_cookies_are_for_webmail_alone_and_secure_under_https(https: bool, cookie: str) -> None:
    found = values(https=https)
    assert found["session_name"] == cookie
    assert (found["session_path"], found["session_samesite"]) == ("/", "Lax")
    assert found["use_https"] is https
    assert "session_domain" not in found, "no other host gets them"
    assert found["thurn_portal"] == PORTAL


def test_roundcube_uses_webmails_own_doors() -> None:
    found = values(https=False)
    assert found["imap_host"] == f"127.0.0.1:{PORTS['webmail_imap']}"
    assert found["smtp_host"] == f"127.0.0.1:{PORTS['webmail_smtp']}"
    assert found["managesieve_host"] == f"127.0.0.1:{PORTS['webmail_sieve']}"
    assert len(found["des_key"]) == 32
    assert found["enable_installer"] is False
    assert set(found["plugins"]) < set(PLUGINS)


def test_filters_leave_the_portals_script_alone() -> None:
    assert "$config['managesieve_filename_exceptions'] = ['thurn'];" in plugin_configs()["managesieve"]


def test_plugins_read_our_configuration_and_never_that_in_etc() -> None:
    targets = {item.path: item.target for item in rendered() if isinstance(item, Link)}
    files = {item.path for item in rendered() if isinstance(item, File)}
    for plugin in plugin_configs():
        assert f"webmail/root/plugins/{plugin}/config.inc.php" in files
        assert f"webmail/root/plugins/{plugin}" not in targets
    assert not [path for path, target in targets.items() if str(target).startswith("/etc") or "config" in path]


def test_php_opens_no_address_no_program_and_no_folder_but_its_own() -> None:
    ini = next(file.text for file in rendered() if isinstance(file, File) and file.path == "webmail/php.ini")
    assert "allow_url_fopen = Off" in ini
    assert "expose_php = Off" in ini
    forbidden = re.search(r"(?m)^disable_functions = (.*)$", ini)
    assert forbidden is not None
    assert {"exec", "shell_exec", "system", "passthru", "popen", "proc_open", "mail"} <= set(forbidden[1].split(","))
    basedir = re.search(r"(?m)^open_basedir = (.*)$", ini)
    assert basedir is not None
    folders = basedir[1].split(":")
    assert all(folder.endswith("/") for folder in folders), "a prefix without a slash would open its namesakes"
    assert not [
        folder for folder in folders if folder.startswith(("/etc", "/home", "/var")) or folder in ("/", "/srv/thurn/")
    ]


def test_caddy_serves_a_list_of_what_is_public() -> None:
    text = webmail.site(STATE, https=True)
    pattern = re.search(r"path_regexp (\S+)", text)
    assert pattern is not None
    public = re.compile(pattern[1])
    for path in ("/skins/elastic/styles/styles.min.css", "/program/js/app.min.js", "/plugins/thurn/posthorn.svg"):
        assert public.fullmatch(path)
    for path in (
        *(
            "/config/config.inc.php",
            "/SQL/postgres.initial.sql",
            "/program/include/iniset.php",
            "/plugins/thurn/thurn.php",
        ),
        *("/plugins/enigma/x.js", "/program/js/x.php", "/program/js/x.js/y.php", "/index.php/x.css", "/temp/x.png"),
        *("/program/js/%2e%2e/x.js", "/logs/errors.js", "/plugins/managesieve/config.inc.php"),
    ):
        assert not public.fullmatch(path), path
    assert "env HTTPS on" in text
    assert "env HTTPS" not in webmail.site(STATE, https=False)


def test_the_newest_php_is_taken_and_a_missing_one_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="deploy/install-packages"):
        webmail.program(tmp_path)
    for version in ("8.2", "8.10", "7.4"):
        (tmp_path / f"php-fpm{version}").touch()
    assert webmail.program(tmp_path).endswith("php-fpm8.10")
    assert missing_php(tmp_path, tmp_path) == ["php-pgsql", "php-intl"]
