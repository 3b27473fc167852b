"""Programs on your own machine: ssh, rsync, the browser. Knows no stage and opens no host."""
