"""What the owner of a mailbox sees and does: `/mailbox`."""
