"""Moves: bringing a mailbox here from another server, over IMAP."""
