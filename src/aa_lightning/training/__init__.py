"""The Lightning half: module, data module, loader, strategies, callbacks, summary."""
