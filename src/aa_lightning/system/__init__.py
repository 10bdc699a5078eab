"""The machine below: files that are whole, locks, caches, processes, signals, the terminal."""
