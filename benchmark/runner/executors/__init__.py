"""Where runs are carried out: on this machine, or on the nodes of a Ray cluster."""
