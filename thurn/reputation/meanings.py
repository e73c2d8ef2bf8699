"""What the figures of providers mean, in words. Pure.

Gmail's rule for senders: keep the share of mail that people call spam below 0.1 %, never reach 0.3 %. Outlook.com's
colours: green, less than 10 % of the mail looked like spam to it; yellow, 10 to 90 %; red, more.
"""

from collections.abc import Mapping
from typing import Any

WARN, BAD = 0.001, 0.003


def of_google(figures: Mapping[str, Any]) -> tuple[str, str]:
    """(level, sentence)."""
    spam = figures.get("spam_rate")
    if spam is None:
        return "off", "Gmail gives no spam rate for this day: too little mail."
    if spam >= BAD:
        return "bad", "Far too many call it spam: Gmail refuses mail from 0.3% on. Stop, and write only to who reads."
    if spam >= WARN:
        return "warn", "Too many call it spam: Gmail wants it below 0.1%. Find out which list they are on."
    return "ok", "Few call it spam; Gmail wants it below 0.1%."


def of_microsoft(figures: Mapping[str, Any]) -> tuple[str, str]:
    """(level, sentence)."""
    traps = figures.get("traps") or 0
    trapped = f" {traps} mails went to trap addresses: some of your addresses nobody ever gave you." if traps else ""
    said = {
        "green": ("ok", "Less than 10% of the mail looked like spam to Outlook.com."),
        "yellow": ("warn", "Between 10% and 90% of the mail looked like spam to Outlook.com."),
        "red": ("bad", "More than 90% of the mail looked like spam to Outlook.com: most of it goes to junk."),
    }
    level, sentence = said.get(str(figures.get("filter")), ("off", "Outlook.com gives no verdict."))
    return ("warn" if traps and level == "ok" else level), sentence + trapped
