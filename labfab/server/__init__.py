"""Server: JupyterLab's process on a host.

How it is started and stopped, whether it answers, what it computes. No tasks are here:
stages/lab and stages/jupyter are built on it.
"""
