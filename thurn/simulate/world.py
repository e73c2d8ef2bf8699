"""The simulated providers: which domains exist, whose mail servers serve them and what their bounces look like.

MX hosts carry the real providers' suffixes, so that `thurn.delivery.providers` recognises them. Every address is
127.0.0.1.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Provider:
    """A company that receives mail. `mx` are its servers, most preferred first."""

    name: str  # as in thurn.delivery.providers
    title: str  # as it calls itself in its mails
    mx: tuple[str, ...]


GOOGLE = Provider(
    "google", "Mail Delivery Subsystem", ("gmail-smtp-in.l.google.com", "alt1.gmail-smtp-in.l.google.com")
)
WORKSPACE = Provider("google", "Mail Delivery Subsystem", ("aspmx.l.google.com", "alt1.aspmx.l.google.com"))
MICROSOFT = Provider("microsoft", "Mail Delivery System", ("simulated-example.olc.protection.outlook.com",))
OFFICE = Provider("office", "Mail Delivery System", ("simulated-example.mail.protection.outlook.com",))
YAHOO = Provider("yahoo", "Mailer-Daemon", ("mta5.am0.yahoodns.net", "mta6.am0.yahoodns.net"))
APPLE = Provider("apple", "Mail Delivery System", ("mx01.mail.icloud.com", "mx02.mail.icloud.com"))
GMX = Provider("gmx", "GMX Mailer Daemon", ("mx00.gmx.net", "mx01.gmx.net"))
WEB_DE = Provider("gmx", "WEB.DE Mailer Daemon", ("mx-ha02.web.de", "mx-ha03.web.de"))
SMALL = Provider("other", "Mail Delivery System", ())  # a server of its own: mx1.<domain>

DOMAINS: dict[str, Provider] = {
    "gmail.example": GOOGLE,
    "googlemail.example": GOOGLE,
    "agentur-nord.example": WORKSPACE,
    "startup-garage.example": WORKSPACE,
    "outlook.example": MICROSOFT,
    "hotmail.example": MICROSOFT,
    "live.example": MICROSOFT,
    "kanzlei-meyer.example": OFFICE,
    "stadtwerke-musterstadt.example": OFFICE,
    "yahoo.example": YAHOO,
    "ymail.example": YAHOO,
    "icloud.example": APPLE,
    "me.example": APPLE,
    "gmx.example": GMX,
    "web.example": WEB_DE,
    "baeckerei-huber.example": SMALL,
    "blumen-roth.example": SMALL,
    "buchhandlung-lenz.example": SMALL,
    "cafe-morgenrot.example": SMALL,
    "fahrrad-vogel.example": SMALL,
    "freemail.example": SMALL,
    "gartenbau-schulz.example": SMALL,
    "landhotel-sonne.example": SMALL,
    "musikschule-west.example": SMALL,
    "praxis-dr-klein.example": SMALL,
    "sportverein-eintracht.example": SMALL,
    "tischlerei-brandt.example": SMALL,
    "university.example": SMALL,
    "weingut-kaiser.example": SMALL,
    "zimmerei-wolf.example": SMALL,
}

# Domains whose DNS is broken, for those who have to cope with it.
SERVFAIL_DOMAIN = "servfail.example"
TIMEOUT_DOMAIN = "timeout.example"


def provider_of_domain(domain: str) -> Provider:
    """Who receives for this domain; an unknown domain has a small server of its own."""
    return DOMAINS.get(domain.lower().rstrip("."), SMALL)


def mx_hosts(domain: str) -> tuple[str, ...]:
    """Names of the domain's mail servers."""
    return provider_of_domain(domain).mx or (f"mx1.{domain}",)
