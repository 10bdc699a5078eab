"""Sources of rows: files, folders, hubs, shards."""
