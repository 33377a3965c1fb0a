"""Which sample comes when: pure functions of what is stored, a seed and the number of the pass."""
