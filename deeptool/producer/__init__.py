"""Pipeline -> records -> broker."""
