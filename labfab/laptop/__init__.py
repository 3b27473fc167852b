"""Your own machine: keys, passwords, the alias, the tunnel. Knows no stage and dials no host by itself."""
