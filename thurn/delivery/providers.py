"""Recipient domain -> provider, by its MX hosts."""

# Names stand in envelope senders and transport names: short, lower-case letters only.
PROVIDERS = ("google", "microsoft", "yahoo", "apple", "gmx", "other", "local")

# Provider -> suffixes of MX hosts. Whoever uses these hosts is served, and limited, by that provider.
_MX_SUFFIXES = {
    "google": ("google.com", "googlemail.com"),
    "microsoft": ("outlook.com", "hotmail.com"),
    "yahoo": ("yahoodns.net",),
    "apple": ("icloud.com", "apple.com"),
    "gmx": ("gmx.net", "web.de"),
}


def provider_of(mx_hosts: list[str]) -> str:
    """The provider that runs *all* of these MX hosts, else `other`."""
    hosts = [host.rstrip(".").lower() for host in mx_hosts]
    for provider, suffixes in _MX_SUFFIXES.items():
        if hosts and all(any(host == s or host.endswith("." + s) for s in suffixes) for host in hosts):
            return provider
    return "other"
