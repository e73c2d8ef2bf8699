"""Roundcube's configuration: a pure function of the installation, written as PHP."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict

from thurn.portal.sieve import SCRIPT as PORTAL_SCRIPT

ASKED = ("thurn", "managesieve", "markasjunk", "archive")
PLUGINS = (*ASKED, "jqueryui", "filesystem_attachments")  # the last are loaded by those who need them
HEAD = "<?php\n// Rendered by Thurn.\n"
PATH = "/"
IDLE = 60  # minutes until a session that nobody uses ends

Value = str | int | bool | None | list["Value"] | dict[str, "Value"]


def config(
    state: Path,
    ports: Mapping[str, int],
    *,
    database: str,
    secrets: Mapping[str, str],
    portal: str,
    https: bool,
    largest: int,
) -> str:
    """The text of config.inc.php. It is read by webmail's user alone: it holds secrets."""
    cookie = "__Host-webmail" if https else "webmail"
    values: dict[str, Value] = {
        "db_dsnw": dsn(database),
        "imap_host": f"127.0.0.1:{ports['webmail_imap']}",
        "imap_auth_type": "PLAIN",
        "smtp_host": f"127.0.0.1:{ports['webmail_smtp']}",
        "smtp_auth_type": "PLAIN",
        "smtp_user": "%u",
        "smtp_pass": "%p",
        "des_key": secrets["key"][:32],
        "cipher_method": "AES-256-CBC",
        "plugins": list(ASKED),
        "thurn_guard": ports["guard"],
        "thurn_secret": secrets["guard"],
        "thurn_portal": portal,
        "thurn_https": https,
        # Sessions: no script reads their cookies.
        "session_storage": "db",
        "session_lifetime": IDLE,
        "session_name": f"{cookie}-session",
        "session_auth_name": f"{cookie}-auth",
        "session_path": PATH,
        "session_samesite": "Lax",
        "request_path": PATH,
        "use_https": https,
        "ip_check": False,  # telephones change their address
        "referer_check": False,  # forms carry a token, and our pages send no referrer
        "x_frame_options": "sameorigin",
        "login_autocomplete": 0,
        "auto_create_user": True,
        "enable_installer": False,
        "log_driver": "stdout",
        "log_date_format": "Y-m-d H:i:s",
        "log_logins": False,
        "smtp_log": False,  # Postfix keeps that log
        "log_session_id": 0,
        "temp_dir": f"{state}/webmail/temp",
        "mime_types": f"{state}/webmail/config/mimetypes.php",
        "skin": "elastic",
        "skin_logo": {"*": "plugins/thurn/posthorn.svg"},
        "product_name": "Webmail",
        "useragent": "Thurn",
        "support_url": "",
        "display_product_info": 1,
        "blankpage_url": "plugins/thurn/blank.html",
        # What people may not change for themselves, because the server would not follow.
        "identities_level": 1,
        "dont_override": [
            *("skin", "identities_level", "drafts_mbox", "sent_mbox", "junk_mbox", "trash_mbox", "mdn_requests"),
        ],
        "drafts_mbox": "Drafts",
        "sent_mbox": "Sent",
        "junk_mbox": "Junk",
        "trash_mbox": "Trash",
        "archive_mbox": "Archive",
        "archive_type": "",
        "quota_zero_as_unlimited": True,
        "max_message_size": f"{largest}M",
        "show_images": 0,  # remote pictures tell the sender: only when asked
        "enable_spellcheck": False,
        "http_received_header": False,
        "default_charset": "UTF-8",
        "refresh_interval": 60,
        "draft_autosave": 120,
        "mail_pagesize": 50,
        "addressbook_pagesize": 50,
        "managesieve_host": f"127.0.0.1:{ports['webmail_sieve']}",
    }
    lines = "".join(f"$config[{php(name)}] = {php(value)};\n" for name, value in values.items())
    return HEAD + "$config = [];\n" + lines


def plugin_configs() -> dict[str, str]:
    """Plugin of the package -> its config.inc.php."""
    values: dict[str, dict[str, Value]] = {
        "managesieve": {
            "managesieve_auth_type": "PLAIN",
            "managesieve_usetls": False,  # loopback
            "managesieve_default": "",
            "managesieve_script_name": "webmail",
            "managesieve_filename_exceptions": [PORTAL_SCRIPT],  # the portal writes it; a change here would be lost
            "managesieve_mbox_encoding": "UTF-8",
            "managesieve_replace_delimiter": "",
            "managesieve_disabled_extensions": ["notify", "enotify", "editheader", "mboxmetadata", "servermetadata"],
            "managesieve_vacation": 1,
            "managesieve_vacation_interval": 1,
            "managesieve_forward": 0,
            "managesieve_raw_editor": True,
        },
        "markasjunk": {
            "markasjunk_learning_driver": None,  # moving a mail to or out of Junk teaches the filter
            "markasjunk_spam_mbox": "Junk",
            "markasjunk_ham_mbox": "INBOX",
            "markasjunk_read_spam": False,
            "markasjunk_move_spam": True,
            "markasjunk_move_ham": True,
        },
        "archive": {},
        "jqueryui": {},
        "filesystem_attachments": {},
    }
    return {
        name: HEAD + "$config = [];\n" + "".join(f"$config[{php(key)}] = {php(value)};\n" for key, value in own.items())
        for name, own in values.items()
    }


def dsn(conninfo: str) -> str:
    """A libpq connection string as Roundcube's data source name."""
    parts = {name: str(value) for name, value in conninfo_to_dict(conninfo).items()}
    user, password, database = (quote(parts.pop(name), safe="") for name in ("user", "password", "dbname"))
    host, port = parts.pop("host", ""), parts.pop("port", "5432")
    where = f"unix({quote(host, safe='')}:{port})" if host.startswith("/") else f"tcp({quote(host, safe='')}:{port})"
    more = {name: quote(value, safe="") for name, value in parts.items() if name.startswith("ssl")}
    query = "?" + "&".join(f"{name}={value}" for name, value in more.items()) if more else ""
    return f"pgsql://{user}:{password}@{where}/{database}{query}"


def php(value: Value) -> str:
    """A value as PHP source. In single quotes only the backslash and the quote mean something."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str():
            return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
        case list():
            return "[" + ", ".join(map(php, value)) + "]"
        case dict():
            return "[" + ", ".join(f"{php(key)} => {php(item)}" for key, item in value.items()) + "]"
