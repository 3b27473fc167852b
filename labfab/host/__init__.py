"""The only door to a machine."""
