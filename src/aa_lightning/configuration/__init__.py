"""What a configuration may say, how a mistake is answered, and the pages of `--help`. Imports no torch."""
