"""The rows of a pass: which are read, from the broker or from a copy, and how they are shuffled."""
