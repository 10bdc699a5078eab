"""Faults of media."""


class MediaError(ValueError):
    """A medium cannot be read: the message is the reason, in a sentence."""
