"""Stages: what to do. One module for each step of the guides; each task works alone and as part of setup.full."""
