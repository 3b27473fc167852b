"""Fuzzing: hostile text goes through everything that parses what others wrote.

The quick ring tries a few examples, always the same; `inv fuzz` tries others, for minutes. What it finds becomes
a plain case in the tests of the module.
"""
