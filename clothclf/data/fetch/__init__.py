"""Data sets from the network: fetched once, resumed where stopped, checked, then in place."""
