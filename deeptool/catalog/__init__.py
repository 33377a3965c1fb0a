"""The log of what is stored (events), the pure fold that reads it, and the topic that keeps it."""
