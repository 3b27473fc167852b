"""What labfab keeps on your own machine: keys, passwords, aliases, host keys."""
