"""Pure functions: tensors in, per-response or per-prompt values out.

Submodules load on first use, so that algorithms can be named and checked without importing torch.
"""

from importlib import import_module


def __getattr__(name: str):
    try:
        return import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from error
