"""A reward of a user's own that ends its process, or never comes back from C; a module that is imported at once."""

import ctypes
import os

WAYS = {"crash": lambda: ctypes.string_at(0), "endless": lambda: sum(range(10**15)), "leaves": lambda: os._exit(3)}


def faulty(prompt, response, way):
    return WAYS[way]() if prompt.keep.get("fails") else 1.0
