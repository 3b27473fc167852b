"""Bench: how long labfab takes beside ssh, pyinfra and Ansible, on the same hosts and over the same line."""
