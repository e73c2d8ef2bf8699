"""What DNS should say about a domain: the records, whether they are there, and publishing them."""
