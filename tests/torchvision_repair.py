"""Let a CUDA build of torchvision import beside a CPU build of torch.

PyPI's torchvision wheel cannot load its compiled operators without CUDA libraries. It tolerates that, but then
registers shape functions for two operators that do not exist and dies with "operator torchvision::nms does not
exist". Half of the vision-language processors need torchvision (its transforms are plain Python), so we declare the
two schemas and import again. Where torchvision works as it is, nothing happens; torch is never imported from here.

    python -P tests/torchvision_repair.py

puts the repair into the environment of that Python, where its torchvision needs it: models and exports then load there.
`make setup` does so.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from pathlib import Path

_NAME = "torchvision_repair"  # in an environment
_HOOK = f"import {_NAME}; {_NAME}.install()\n"
_SYMPTOM = "torchvision::nms"
_SCHEMA = "{}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_library = None  # torch drops the schemas when the library object dies


class _Repair(importlib.abc.Loader):
    def __init__(self, loader: importlib.abc.Loader):
        self.loader = loader

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        try:
            self.loader.exec_module(module)
        except RuntimeError as error:
            if _SYMPTOM not in str(error):
                raise
            for name in [n for n in sys.modules if n.startswith("torchvision.")]:
                del sys.modules[name]
            _declare_operators()
            self.loader.exec_module(module)


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name != "torchvision":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            spec.loader = _Repair(spec.loader)
        return spec


def _declare_operators() -> None:
    global _library
    import torch

    _library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        _library.define(_SCHEMA.format(operator))


def install() -> None:
    """Put the repair in front of the import system, once."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def settle(packages: Path) -> None:
    """Put this module among the packages of an environment, and a line that Python runs when it starts there; nothing if
    its torchvision works as it is."""
    copy = packages / f"{_NAME}.py"
    if not copy.is_file() and not _is_broken():
        return
    copy.write_text(Path(__file__).read_text(encoding="utf-8"), encoding="utf-8")
    copy.with_suffix(".pth").write_text(_HOOK, encoding="utf-8")


def _is_broken() -> bool:
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if _SYMPTOM not in str(error):
            raise
        return True
    return False


if __name__ == "__main__":
    import sysconfig

    settle(Path(sysconfig.get_path("purelib")))
