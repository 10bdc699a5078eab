"""From a command line to processes."""
