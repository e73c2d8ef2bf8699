"""Message trace: what became of each mail that went through `mx`, searchable."""
