"""Packages that load once something is asked of them, where others import them whole for little."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.metadata import version
from importlib.util import module_from_spec
from logging import getLogger
from types import ModuleType
from typing import Any


class LazyModule(ModuleType):
    """A module that runs its code when the first name is asked for that it was not given before."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__all__":  # asked of every module by who looks through all of them
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        load(self)
        return getattr(self, name)


def load(module: ModuleType) -> None:
    """Run a module's code, where that is still to be done."""
    if isinstance(module, LazyModule):
        module.__class__ = ModuleType
        module.__spec__.loader.exec_module(module)


def lazily(name: str, folders: Sequence[str] | None = None, **given: Any) -> LazyModule:
    """A module in its place among all modules, with some of its names and none of its code run.

    Args:
        folders: of its package; None: those of `sys.path`.
        given: the names.
    """
    spec = PathFinder.find_spec(name, folders)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    module.__class__ = LazyModule
    vars(module).update(given)
    sys.modules[name] = module
    return module


def torchmetrics_lazily() -> ModuleType:
    """Let lightning have the two classes that it needs. The whole package, which it would import, brings scipy, matplotlib
    and hundreds of metrics along; all of it is there as soon as somebody asks for more.

    Returns:
        The package, with these two at least.
    """
    if "torchmetrics" in sys.modules:
        return sys.modules["torchmetrics"]
    package = lazily("torchmetrics", __version__=version("torchmetrics"), _logger=getLogger("torchmetrics"))

    def plot_single_or_multi_val(*values: Any, **options: Any) -> Any:
        load(plot)
        return plot.plot_single_or_multi_val(*values, **options)

    plot = lazily(
        "torchmetrics.utilities.plot",
        [f"{folder}/utilities" for folder in package.__path__],
        _AX_TYPE=object,
        _PLOT_OUT_TYPE=object,
        plot_single_or_multi_val=plot_single_or_multi_val,
    )
    import_module("torchmetrics.utilities").plot = plot
    package.Metric = import_module("torchmetrics.metric").Metric
    package.MetricCollection = import_module("torchmetrics.collections").MetricCollection
    return package
