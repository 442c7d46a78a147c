"""Byte-level fuzzing; ``README.md`` says how it is run, and what the corpus is."""
