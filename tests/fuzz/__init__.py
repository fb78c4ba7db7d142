"""Mutated input for every parser of foreign bytes: `python -m tests.fuzz --count 100000`."""
