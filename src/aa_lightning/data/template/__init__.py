"""From a row to an example: the mapping written in YAML."""
