"""The words of a configuration: which are allowed, how a mistake is answered, the pages of `--help`. Imports no torch."""
