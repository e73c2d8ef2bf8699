"""What others think of this server: block lists, refusals, and what providers tell their senders."""
