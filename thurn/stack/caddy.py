"""Caddy, the role `edge`: the one door for browsers. Everything behind it listens on loopback."""

from collections.abc import Mapping
from pathlib import Path

from thurn.settings import LOOPBACK
from thurn.stack.files import Directory, File
from thurn.stack.postfix import EVERYWHERE

CONFIG = "edge/Caddyfile"


def directories() -> list[Directory]:
    """Caddy's own folders; certificates and keys are in `data`."""
    return [
        Directory("edge"),
        Directory("edge/data", 0o700, "caddy:caddy"),
        Directory("edge/run", 0o750, "caddy:caddy"),
    ]


def render(state: Path, ports: Mapping[str, int], *, listen: str, secret: str) -> list[File]:
    """The Caddyfile. `secret` tells the web that a request came through here."""
    bind = "" if listen in EVERYWHERE else f"\n  bind {listen}"
    text = f"""# Rendered by Thurn.
{{
  admin unix//{state}/edge/run/admin.sock
  storage file_system {state}/edge/data
  auto_https off
  log {{
    output stderr
    level WARN
  }}
}}
http://:{ports["http"]} {{{bind}
  reverse_proxy {LOOPBACK}:{ports["web"]} {{
    header_up X-Thurn-Edge {secret}
  }}
}}
"""
    return [File(CONFIG, text, 0o640, "root:caddy")]
