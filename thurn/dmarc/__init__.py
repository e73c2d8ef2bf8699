"""What receivers report about mail in the name of our domains: DMARC, and TLS on the way here."""
