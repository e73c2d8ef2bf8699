"""Background jobs of mailhost."""
