"""Relays: mail that leaves by another company's server, or by another server of the house."""
