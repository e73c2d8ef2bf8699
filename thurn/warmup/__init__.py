"""Warm-up: a new sending address sends a little more each day, at each provider, while the answers are good."""
