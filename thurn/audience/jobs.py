"""Background jobs of audience."""
