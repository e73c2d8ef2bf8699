"""What Dovecot does about spam: sorts at delivery, by each mailbox's own wish, and teaches Rspamd what people move."""

from collections.abc import Mapping
from pathlib import Path

from thurn.stack.files import File

DOOR = "dovecot/run/ours"  # LMTP for our own machinery
RELEASED = "X-Thurn-Released"  # the header that proves that a mail was let through; taken off at delivery
SCRIPTS = ("junk", "learn-spam", "learn-ham")

# An empty wish would be contained in everything. `fileinto` instead of `keep`: the owner's own filters, which might
# send it on, are not asked about what was let through.
_JUNK = """require ["fileinto", "variables", "environment", "vnd.dovecot.environment", "editheader"];
if header :is "{header}" "{proof}" {{
  deleteheader "{header}";
  fileinto "INBOX";
  stop;
}}
set "level" "${{env.vnd.dovecot.config.junk_level}}";
set "mark" "${{env.vnd.dovecot.config.junk_mark}}";
if string :is "${{level}}" "" {{ set "level" "-"; }}
if string :is "${{mark}}" "" {{ set "mark" "-"; }}
if anyof (header :is "X-Spam" "Yes",
          header :contains "X-Spam-Level" "${{level}}",
          header :contains "X-Spam-Junk-For" "${{mark}}") {{
  set "junk" "yes";
}}
deleteheader "X-Spam-Junk-For";
if string :is "${{junk}}" "yes" {{
  fileinto "Junk";
  stop;
}}
"""

_LEARN = """require ["vnd.dovecot.pipe", "copy", "imapsieve", "environment", "variables"];
if environment :is "imap.mailbox" "Trash" {{ stop; }}
if environment :matches "imap.user" "*" {{ set "user" "${{1}}"; }}
pipe :copy :try "learn" ["{what}", "${{user}}"];
"""

# The password is in a file, for a command line is open to everybody on the machine.
_PROGRAM = """#!/bin/sh
exec /usr/bin/curl --config {state}/dovecot/bin/rspamd.curl --header "Deliver-To: $2" \\
  --data-binary @- "http://127.0.0.1:{port}/learn$1" >/dev/null 2>&1
"""


def render(state: Path, ports: Mapping[str, int], *, controller_password: str, released: str) -> list[File]:
    """Filters, and the program that hands a moved mail to Rspamd."""
    junk = _JUNK.format(header=RELEASED, proof=released)
    program = _PROGRAM.format(state=state, port=ports["rspamd"])
    secret = f'silent\nmax-time = 20\nheader = "Password: {controller_password}"\n'
    return [
        File("dovecot/sieve/junk.sieve", junk, 0o640, "root:thurn-mail"),
        *(File(f"dovecot/sieve/learn-{what}.sieve", _LEARN.format(what=what), 0o640, "root:thurn-mail")
          for what in ("spam", "ham")),
        File("dovecot/bin/learn", program, 0o750, "root:thurn-mail"),
        File("dovecot/bin/rspamd.curl", secret, 0o640, "root:thurn-mail"),
    ]  # fmt: skip


def plugin(state: Path) -> str:
    """Settings of the Sieve plugin: into Junk is spam; out of it is none, unless it goes to the Trash."""
    sieve = f"{state}/dovecot/sieve"
    return f"""  sieve_plugins = sieve_imapsieve sieve_extprograms
  sieve_extensions = +editheader
  sieve_global_extensions = +vnd.dovecot.pipe +vnd.dovecot.environment
  sieve_pipe_bin_dir = {state}/dovecot/bin
  imapsieve_mailbox1_name = Junk
  imapsieve_mailbox1_causes = COPY
  imapsieve_mailbox1_before = file:{sieve}/learn-spam.sieve
  imapsieve_mailbox2_name = *
  imapsieve_mailbox2_from = Junk
  imapsieve_mailbox2_causes = COPY
  imapsieve_mailbox2_before = file:{sieve}/learn-ham.sieve
"""
