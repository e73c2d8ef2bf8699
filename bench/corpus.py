"""`make corpus`: how well the classifier agrees with a labelled corpus of real bounces. Prints the differences too."""

import argparse
import hashlib
import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thurn.feedback.explain import explain_file

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Compared:
    """One labelled recipient of one mail, and what we say."""

    file: str
    reason: str
    said: str
    reason_agrees: bool
    hard_agrees: bool
    diagnostic: str


def compare(folder: Path) -> Iterator[Compared]:
    """Each label against the recipient in the same place; a mail with fewer recipients is held against the last."""
    mapping = tomllib.loads((HERE / "corpus_reasons.toml").read_text())
    labels: dict[str, list[dict[str, Any]]] = json.loads((folder / "labels.json").read_text())
    for name, wanted in sorted(labels.items()):
        explained = explain_file(folder / name)
        found = explained["recipients"]
        for place, label in enumerate(wanted):
            said = found[min(place, len(found) - 1)] if found else {"category": "", "hard": False, "diagnostic": ""}
            reason = label["reason"]
            if reason in mapping["kind"]:
                kind = mapping["kind"][reason]
                agrees = kind in (explained["kind"], said["category"])
                yield Compared(name, reason, explained["kind"], agrees, agrees or not said["hard"], said["diagnostic"])
                continue
            allowed = mapping["reason"][reason]
            yield Compared(
                name, reason, said["category"] or explained["kind"],
                not allowed or said["category"] in allowed, said["hard"] == label["hard"], said["diagnostic"],
            )  # fmt: skip


def half(file: str) -> str:
    """Which half of the corpus a mail is in, by a hash of its name: a rule made for one mail helps one half only."""
    return "first" if hashlib.sha256(file.encode()).digest()[0] % 2 else "second"


def _agreement(results: list[Compared]) -> dict[str, float | int]:
    total = len(results)
    return {
        "labels": total,
        "reason": round(sum(each.reason_agrees for each in results) / total, 4) if total else 0,
        "hard": round(sum(each.hard_agrees for each in results) / total, 4) if total else 0,
    }


def main() -> None:
    """Print agreement and differences, each with our reason where there is one; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    results = list(compare(parser.parse_args().folder))
    why: dict[str, str] = tomllib.loads((HERE / "corpus_differences.toml").read_text())
    for each in results:
        if not (each.reason_agrees and each.hard_agrees):
            hard = "" if each.hard_agrees else " (hard/soft)"
            print(f"{each.file:24} {each.reason:15} → {each.said}{hard}: {each.diagnostic[:150]}")
            print(f"{'':24} {why.get(each.file, 'no reason: a fault of ours, or a wording we do not know')}")
    halves = {name: _agreement([each for each in results if half(each.file) == name]) for name in ("first", "second")}
    print(json.dumps(_agreement(results) | {"halves": halves}))


if __name__ == "__main__":
    main()
