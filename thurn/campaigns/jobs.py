"""Background jobs of campaigns."""
