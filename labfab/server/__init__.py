"""Server: JupyterLab's process on a host.

How to start and stop it, whether it answers, and what it computes. It has no tasks:
stages/lab and stages/jupyter build on it.
"""
