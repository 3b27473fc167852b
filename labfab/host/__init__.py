"""Host: the only way that labfab reads or changes a machine."""
