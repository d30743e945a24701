"""One file for each verb of the command line: parse, one library call, print."""
