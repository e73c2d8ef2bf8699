"""Shaping: what providers answer decides how fast, and whether, they get mail from an address of ours."""
