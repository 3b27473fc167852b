"""Local state: the keys, passwords, aliases and host keys that labfab keeps on your machine."""
