"""The role `webmail`: Debian's Roundcube in PHP-FPM, as a user of its own, behind a UNIX socket that Caddy opens.

Roundcube's program comes from the package, everything else from the state directory. Nothing in /etc is read while it
runs: PHP may open only the folders named in `open_basedir`. `thurn up` takes the package's list of defaults and of MIME
types from /etc/roundcube, for Debian keeps them nowhere else; whatever matters is said again in `roundcube_config.py`.
"""

from collections.abc import Mapping
from pathlib import Path

import thurn
from thurn.stack.files import Directory, File, Link
from thurn.stack.roundcube_config import PLUGINS, config, plugin_configs

USER = "thurn-web"
SOCKET = "webmail/run/fpm.sock"
ROOT = "webmail/root"  # what Caddy and PHP see of Roundcube
OURS = Path(thurn.__file__).parent / "webmail" / "roundcube" / "thurn"
_PACKAGE = Path("/usr/share/roundcube")
_LIBRARIES = ("/usr/share/php", "/usr/share/javascript", "/usr/share/nodejs")  # where Debian keeps what it shares
_DEFAULTS = ("defaults.inc.php", "mimetypes.php")
LARGEST = 36  # MiB of attachments in a mail: Postfix takes 50, and base64 makes them a third larger

# Roundcube's needs; php.ini names them, so that what else is installed on this machine stays out.
_EXTENSIONS = (
    *("ctype", "fileinfo", "iconv", "intl", "mbstring", "pdo", "pdo_pgsql", "posix", "tokenizer"),
    *("xml", "dom", "simplexml", "xmlreader", "xmlwriter"),
)
_FORBIDDEN = (
    *("exec", "passthru", "shell_exec", "system", "popen", "proc_open", "proc_nice", "dl", "mail", "symlink", "link"),
    *("pcntl_exec", "pcntl_fork", "posix_kill", "posix_setuid", "show_source", "phpinfo", "syslog", "openlog"),
)

_ENTRY = """<?php
// Rendered by Thurn.
define('INSTALL_PATH', '{state}/webmail/root/');
define('RCMAIL_CONFIG_DIR', '{state}/webmail/config');
define('RCUBE_LOCALIZATION_DIR', INSTALL_PATH . 'program/localization/');
require '{package}/index.php';
"""


# Roundcube writes scripts and styles into its pages and evaluates what its server answers, so both must be allowed; it
# is its washing of HTML that keeps a mail's scripts away. Everything else is closed. Pictures come only after a click.
_CSP = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob: https: http:; media-src 'self' blob:; font-src 'self' data:; connect-src 'self'; "
    "frame-src 'self' blob:; object-src 'self'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
_ASSETS = "css|js|svg|png|gif|jpg|ico|webp|tiff|woff|woff2|ttf|map|html"


# On the host of the web interface: whoever kept the address that webmail had before it got an origin of its own.
MOVED = "  redir /webmail /mailbox/webmail 302\n  redir /webmail/* /mailbox/webmail 302\n"


def site(state: Path, *, https: bool) -> str:
    """Lines of a Caddyfile for an origin that is webmail's alone: Roundcube, and of it only what is public.

    Where the origins differ by their port only, browsers send our own cookies (administrators', mailboxes') here, too.
    PHP does not get them. They are replaced by `$9`, a group that is not there, for an empty replacement would set the
    header to the pattern.
    """
    plugins = "|".join(PLUGINS)
    seen = "        env HTTPS on\n" if https else ""
    strict = "    Strict-Transport-Security max-age=31536000\n" if https else ""
    return f"""  request_body {{
    max_size {LARGEST + 4}MB
  }}
  header {{
{strict}    Content-Security-Policy "{_CSP}"
    X-Content-Type-Options nosniff
    X-Frame-Options SAMEORIGIN
    Referrer-Policy no-referrer
    Cross-Origin-Opener-Policy same-origin
    Permissions-Policy "camera=(), geolocation=(), microphone=(), payment=(), usb=()"
    defer
  }}
  root * {state}/{ROOT}
  @entry path / /index.php
  handle @entry {{
    rewrite * /index.php
    reverse_proxy unix/{state}/{SOCKET} {{
      header_up Cookie "(__Host-)?thurn-[^=;]*=[^;]*;? ?" "$9"
      transport fastcgi {{
        split .php
{seen}      }}
    }}
  }}
  @asset path_regexp ^/(skins/elastic|plugins/({plugins})|program/(js|resources))/[A-Za-z0-9_./-]+[.]({_ASSETS})$
  handle @asset {{
    header Cache-Control "public, max-age=86400"
    file_server
  }}
  handle {{
    respond "Not found" 404
  }}
"""


def program(folder: Path = Path("/usr/sbin")) -> str:
    """PHP-FPM of the newest PHP. Raises FileNotFoundError with a text for people when there is none."""
    found = sorted(folder.glob("php-fpm[0-9]*"), key=_version)
    if not found:
        raise FileNotFoundError("PHP-FPM is not installed. Run `deploy/install-packages` as root.")
    return str(found[-1])


def _version(path: Path) -> list[int]:
    return [int(number) for number in path.name.removeprefix("php-fpm").split(".")]


def directories() -> list[Directory]:
    """Folders of webmail. Files made in `run` belong to Caddy's group, and nobody else may enter."""
    return [
        Directory("webmail"),
        Directory("webmail/root"),
        Directory("webmail/root/plugins"),
        *(Directory(f"webmail/root/plugins/{name}") for name in PLUGINS if name != "thurn"),
        Directory("webmail/config", 0o750, f"root:{USER}"),
        Directory("webmail/temp", 0o700, f"{USER}:{USER}"),
        Directory("webmail/run", 0o2750, f"{USER}:caddy"),
    ]


def render(
    state: Path,
    ports: Mapping[str, int],
    *,
    database: str,
    secrets: Mapping[str, str],
    portal: str,
    https: bool,
    package: Path = _PACKAGE,
) -> list[File | Link]:
    """All files and links. `database` is a libpq connection string for the role `thurn_webmail`; `secrets` has `key`
    (seals what lies in sessions) and `guard` (shown to the guard). `portal`: base address of the web interface."""
    text = config(state, ports, database=database, secrets=secrets, portal=portal, https=https, largest=LARGEST)
    return [
        File("webmail/fpm.conf", _fpm(state)),
        File("webmail/php.ini", _ini(state)),
        File("webmail/root/index.php", _ENTRY.format(state=state, package=package)),
        Link("webmail/root/program", package / "program"),
        Link("webmail/root/skins", package / "skins"),
        Link("webmail/root/SQL", package / "SQL"),
        Link("webmail/root/plugins/thurn", OURS),
        *_plugins(package),
        File("webmail/config/config.inc.php", text, 0o640, f"root:{USER}"),
        *(File(f"webmail/config/{name}", (Path("/etc/roundcube") / name).read_text(), 0o644) for name in _DEFAULTS),
    ]


def _plugins(package: Path) -> list[File | Link]:
    """The package's plugins, but with our configuration: theirs are links into /etc."""
    made: list[File | Link] = []
    for name, text in plugin_configs().items():
        parts = sorted(
            path for path in (package / "plugins" / name).iterdir() if not path.name.startswith("config.inc")
        )
        made += [Link(f"webmail/root/plugins/{name}/{path.name}", path) for path in parts]
        made.append(File(f"webmail/root/plugins/{name}/config.inc.php", text))
    return made


def _fpm(state: Path) -> str:
    """Processes come when there is work and go half a minute after it."""
    return f"""; Rendered by Thurn.
[global]
error_log = /dev/null
daemonize = no
process_control_timeout = 5s
[webmail]
listen = {state}/{SOCKET}
listen.mode = 0660
pm = ondemand
pm.max_children = 12
pm.process_idle_timeout = 30s
pm.max_requests = 500
request_terminate_timeout = 180s
catch_workers_output = yes
decorate_workers_output = no
clear_env = yes
security.limit_extensions = .php
"""


def _ini(state: Path) -> str:
    folders = ":".join([f"{state}/webmail/", f"{_PACKAGE}/", *(f"{folder}/" for folder in _LIBRARIES), f"{OURS}/"])
    extensions = "".join(f"extension = {name}\n" for name in _EXTENSIONS)
    return f"""; Rendered by Thurn.
{extensions}zend_extension = opcache
expose_php = Off
display_errors = Off
log_errors = On
html_errors = Off
error_reporting = E_ALL & ~E_NOTICE & ~E_WARNING & ~E_DEPRECATED & ~E_STRICT
memory_limit = 128M
max_execution_time = 120
max_input_vars = 5000
file_uploads = On
upload_tmp_dir = {state}/webmail/temp
sys_temp_dir = {state}/webmail/temp
upload_max_filesize = {LARGEST}M
post_max_size = {LARGEST + 4}M
max_file_uploads = 50
open_basedir = {folders}
include_path = .:/usr/share/php
disable_functions = {",".join(_FORBIDDEN)}
allow_url_fopen = Off
allow_url_include = Off
enable_dl = Off
date.timezone = UTC
session.use_strict_mode = 1
session.use_only_cookies = 1
session.cookie_httponly = 1
session.gc_probability = 1
session.gc_divisor = 500
zend.exception_ignore_args = On
opcache.memory_consumption = 48
opcache.interned_strings_buffer = 8
opcache.max_accelerated_files = 2000
opcache.validate_timestamps = 1
opcache.revalidate_freq = 10
"""
