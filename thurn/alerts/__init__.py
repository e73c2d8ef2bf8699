"""Alerts: something broke that a person should know. Shown on Home until it is mended, mailed to the owners once."""

from thurn.alerts.service import mail_owners, mended, notify, open_alerts

__all__ = ["mail_owners", "mended", "notify", "open_alerts"]
