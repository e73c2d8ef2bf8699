"""What the failures of TLS reports mean and what to do (RFC 8460, 4.3). Data."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Meaning:
    """In words for a person."""

    what: str
    do: str


_CERTIFICATE = "Look at Certificates: Thurn renews them by itself, and says there what stands in the way."
MEANINGS = {
    "starttls-not-supported": Meaning(
        "The server did not offer encryption",
        "Something between them and you takes STARTTLS away, often a firewall that “inspects” SMTP, or your MX record "
        "names another server. Look at the server's name beside this and at your MX record.",
    ),
    "certificate-host-mismatch": Meaning(
        "The certificate is for another name",
        "The name in your MX record and the names in the certificate differ. " + _CERTIFICATE,
    ),
    "certificate-expired": Meaning("The certificate had run out", _CERTIFICATE),
    "certificate-not-trusted": Meaning(
        "The certificate was issued by nobody they know",
        "A self-signed certificate, or one without its chain. " + _CERTIFICATE,
    ),
    "validation-failure": Meaning(
        "The certificate could not be checked",
        "They do not say more. If it is one sender only, the fault may be theirs. " + _CERTIFICATE,
    ),
    "tlsa-invalid": Meaning(
        "Your TLSA record does not fit the certificate",
        "Publish the TLSA record that the DNS page shows, or remove it: a wrong one has mail refused.",
    ),
    "dnssec-invalid": Meaning(
        "The signatures of your DNS are broken",
        "Ask who keeps your DNS about DNSSEC: expired signatures, or a DS record at the registry for an old key.",
    ),
    "dane-required": Meaning(
        "They insist on DANE and found none",
        "Their rule, not yours. It needs DNSSEC and a TLSA record; both are your choice.",
    ),
    "sts-policy-fetch-error": Meaning(
        "They could not fetch your MTA-STS policy",
        "https://mta-sts.<your domain>/.well-known/mta-sts.txt has to answer with a valid certificate. DNS records "
        "shows the record of that name, Certificates its certificate.",
    ),
    "sts-policy-invalid": Meaning(
        "Your MTA-STS policy could not be read",
        "Thurn serves a valid one: look whether mta-sts.<your domain> leads to another web server.",
    ),
    "sts-webpki-invalid": Meaning(
        "The web server of your MTA-STS policy has no valid certificate",
        "Its name is mta-sts.<your domain>. " + _CERTIFICATE,
    ),
}
UNKNOWN = Meaning("They gave a reason that no standard knows", "Their own words stand beside it, if they gave any.")
POLICIES = {
    "sts": "MTA-STS",
    "tlsa": "DANE",
    "no-policy-found": "No policy",
}


def meaning(result: str) -> Meaning:
    """Of a result type."""
    return MEANINGS.get(result, UNKNOWN)
