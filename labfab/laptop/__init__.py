"""Programs on your own machine: ssh, rsync, the browser. Imports no stage and dials no host."""
