"""What runs on the host: shell scripts, and two Python programs that need no labfab there."""
