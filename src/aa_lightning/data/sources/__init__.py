"""Where rows come from: files, folders, hubs, shards."""
