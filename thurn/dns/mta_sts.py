"""The MTA-STS policy of a domain (RFC 8461): its text, and the id by which others see it change. Pure."""

import hashlib
from collections.abc import Sequence

_WEEK = 7 * 86_400
_DAY = 86_400


def policy(mode: str, hosts: Sequence[str]) -> str:
    """What stands at https://mta-sts.<domain>/.well-known/mta-sts.txt; `mode` is none, testing or enforce.

    Others remember a policy that enforces for a week, any other for a day, so that turning it off is quick.
    """
    lines = ["version: STSv1", f"mode: {mode}", *(f"mx: {host}" for host in hosts)]
    lines.append(f"max_age: {_WEEK if mode == 'enforce' else _DAY}")
    return "".join(f"{line}\r\n" for line in lines)


def policy_id(text: str) -> str:
    """The id= of the TXT record: changes whenever the policy does."""
    return hashlib.sha256(text.encode()).hexdigest()[:20]
