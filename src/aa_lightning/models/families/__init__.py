"""Model families: the table, and the odd ones."""
