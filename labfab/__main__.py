"""Lets `python -m labfab` run the program."""

from .program import main

main()
