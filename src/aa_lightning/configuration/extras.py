"""The optional packages that a configuration needs, looked up before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any


def missing_extras(plain: Mapping[str, Any]) -> list[str]:
    """Name each optional package that a configuration needs and the environment lacks, with what installs it.

    Args:
        plain: a configuration whose sections are well formed.
    """
    return [
        f"{given} needs {package}, which is not installed\ntype: pip install 'aa_lightning[{extra}]'"
        for given, package, extra in _needed(plain)
        if find_spec(package) is None
    ]


def uses_deepspeed(trainer: Mapping[str, Any]) -> bool:
    """Tell whether the strategy of a `trainer` section is DeepSpeed's."""
    strategy = trainer.get("strategy")
    return isinstance(strategy, Mapping) and "DeepSpeed" in strategy["_target_"]


def _needed(plain: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Pairs of a value and a package, with the extra that brings the package."""
    model, trainer, logger = (plain.get(name, {}) for name in ("model", "trainer", "logger"))
    if model.get("likelihood") == "elbo":
        yield f"model.family={model['family']}", "diffusers", "diffusion"
    if kind := model.get("quantization"):
        yield f"model.quantization={kind}", "bitsandbytes", "quantization"
    if uses_deepspeed(trainer):
        yield f"strategy=deepspeed_zero{trainer['strategy'].get('stage')}", "deepspeed", "deepspeed"
    for other in logger.get("others", []):
        for name in ("wandb", "mlflow"):
            if name in str(other.get("_target_")).lower():
                yield f"logger={name}", name, name
