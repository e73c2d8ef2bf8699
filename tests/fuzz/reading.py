"""`make fuzz`: what came back, read from a million made-up mails. Coverage-guided by atheris (libFuzzer).

Whatever the bytes, there is an answer: no exception, in bounded time and memory (libFuzzer's own limits), of the
documented shape, and only dead addresses are hard.
"""

import contextlib
import hashlib
import json
import sys
from pathlib import Path
from typing import get_args

import atheris

with atheris.instrument_imports(include=["thurn.feedback"]):
    from tests.feedback.test_bounce_mail import DELAYED, EXIM, FAILED, HOSTILE, QMAIL, RELAYED, SES, dsn
    from thurn.feedback.bounce_mail import Kind
    from thurn.feedback.classify import CATEGORIES, DEAD, classify
    from thurn.feedback.explain import explain

KINDS = {*get_args(Kind)}
LONGEST = 4 * 1024


def check(data: bytes) -> None:
    """One input."""
    explained = explain(data, "fuzz")
    json.dumps(explained)
    assert "kind" not in explained or explained["kind"] in KINDS
    for said in explained.get("recipients", [explained]):
        if said["category"] == "delivered":
            continue
        assert said["category"] in CATEGORIES
        assert said["hard"] == (said["action"] == "suppress")
        assert not said["hard"] or said["category"] in DEAD
        assert len(said["diagnostic"]) <= 2000
    classify(data.decode("utf-8", "replace"))


def seeds(folder: Path, corpora: Path) -> None:
    """Real mails, and ours, to begin with."""
    folder.mkdir(parents=True, exist_ok=True)
    ours = [dsn(FAILED, DELAYED, RELAYED), QMAIL, EXIM, SES, *(mail[:LONGEST] for mail in HOSTILE.values())]
    ours += [p.read_bytes() for p in corpora.glob("*/*") if p.is_file() and p.stat().st_size <= LONGEST]
    for each in ours:
        with contextlib.suppress(FileExistsError), (folder / hashlib.sha256(each).hexdigest()).open("xb") as file:
            file.write(each)


if __name__ == "__main__":
    seeds(Path(sys.argv[1]), Path(sys.argv[2]))
    limits = [f"-max_len={LONGEST}", "-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *limits, *sys.argv[3:], sys.argv[1]], check)
    atheris.Fuzz()
