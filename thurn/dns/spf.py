"""Reading an SPF record (RFC 7208) as far as one can without asking DNS. Pure."""

import ipaddress
import re
from collections.abc import Iterable

MOST_LOOKUPS = 10  # RFC 7208, 4.6.4
_ASKS = ("include", "a", "mx", "ptr", "exists")  # mechanisms that cost a look-up; so does redirect=
_TERM = re.compile(
    r"(?P<qualifier>[+~?-]?)(?P<mechanism>all|include|a|mx|ptr|ip4|ip6|exists)(?P<argument>[:/].*)?$",
    re.ASCII | re.IGNORECASE,
)
_MODIFIER = re.compile(r"[a-z][a-z0-9_.-]*=\S*$", re.ASCII | re.IGNORECASE)


def is_policy(text: str) -> bool:
    """Whether a TXT record is meant for SPF (RFC 7208, 4.5)."""
    return text.lower().split(" ")[0].strip() == "v=spf1"


def _terms(policy: str) -> list[str]:
    return policy.split()[1:]


def error(policy: str) -> str:
    """The first thing receivers would stumble over, in words; empty if there is none."""
    return next(filter(None, map(_term_error, _terms(policy))), "")


def _term_error(term: str) -> str:
    if _MODIFIER.match(term):
        return ""
    match = _TERM.match(term)
    if match is None:
        return f"“{term}” means nothing"
    name, argument = match["mechanism"].lower(), (match["argument"] or "")[1:]
    if name in ("include", "exists") and not argument:
        return f"“{term}” names nothing"
    if name in ("ip4", "ip6") and not _is_network(argument, int(name[2])):
        return f"“{term}” is no address"
    return ""


def _is_network(text: str, version: int) -> bool:
    try:
        return ipaddress.ip_network(text, strict=False).version == version
    except ValueError:
        return False


def lookups(policy: str) -> int:
    """Look-ups this record costs by itself; those of what it includes come on top."""
    mechanisms = [match["mechanism"].lower() for term in _terms(policy) if (match := _TERM.match(term))]
    redirects = sum(term.lower().startswith("redirect=") for term in _terms(policy))
    return sum(name in _ASKS for name in mechanisms) + redirects


def qualifier_of(policy: str, mechanism: str) -> str | None:
    """`+`, `-`, `~` or `?` of the first term that names us: `mechanism`, or `mx`; None if none does before `all`."""
    for term in _terms(policy):
        match = _TERM.match(term)
        if match is None:
            continue
        name = term[len(match["qualifier"]) :].lower()
        if name in (mechanism.lower(), "mx"):
            return match["qualifier"] or "+"
        if name == "all":
            return None
    return None


def names_others(policy: str) -> bool:
    """Whether it allows something by address or by reference, which may be anybody, us included."""
    bare = [term.lower().removeprefix("+") for term in _terms(policy)]
    return any(
        term.startswith(("ip4:", "ip6:", "include:", "redirect=", "a:", "a/", "mx:", "exists:")) for term in bare
    )


def allows_everybody(policy: str) -> bool:
    """Whether it ends in +all."""
    return any(term.lower() in ("all", "+all") for term in _terms(policy))


def not_named(policy: str, wanted: Iterable[str]) -> list[str]:
    """Of `ip4:` and `ip6:` terms those whose address the record does not allow by an address or network of its own."""
    open_ = []
    for term in _terms(policy):
        match = _TERM.match(term)
        if match is None:
            continue
        name, argument = match["mechanism"].lower(), (match["argument"] or "")[1:]
        if name == "all":
            break
        if match["qualifier"] in ("", "+") and name in ("ip4", "ip6") and _is_network(argument, int(name[2])):
            open_.append(ipaddress.ip_network(argument, strict=False))
    return [term for term in wanted if not any(ipaddress.ip_address(term[4:]) in network for network in open_)]


def refers(policy: str) -> bool:
    """Whether it allows by reference what only a look-up can tell."""
    return any(term.lower().lstrip("+").startswith(("include:", "redirect=", "exists:")) for term in _terms(policy))


def merged(policies: Iterable[str], mechanism: str, end: str, further: Iterable[str] = ()) -> str:
    """One record that says what all of them said and names us; ends in their first `all` but +all, else in `end`.

    `further`: addresses of ours beside `mechanism`.
    """
    policies = list(policies)
    terms = [mechanism, *further]
    ours = {term.lower() for term in terms}
    ends = []
    for term in (term for policy in policies for term in _terms(policy)):
        bare = term.lstrip("+-~?").lower()
        if bare == "all":
            ends += [term] if term.lower() not in ("all", "+all") else []
        elif not _term_error(term) and bare not in ours and term not in terms:
            terms.append(term)
    if any(term.lower().startswith("redirect=") for term in terms) and not ends:
        return " ".join(["v=spf1", *terms])
    return " ".join(["v=spf1", *terms, ends[0] if ends else end])
