"""Spam: who wants what, what Rspamd said, what is held, and what it learns."""
