"""Stages: one module for each step of the guides.

Each task works alone and as part of setup.full.
"""
