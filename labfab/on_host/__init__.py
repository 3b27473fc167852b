"""What runs on the host: shell scripts, and Python programs that work there without labfab."""
