"""The optional packages that a configuration needs, looked up before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any

from aa_lightning.configuration.strategy import strategy_of


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


def _needed(plain: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Pairs of a value and a package, with the extra that brings the package."""
    model, trainer, logger = (plain.get(name, {}) for name in ("model", "trainer", "logger"))
    if model.get("likelihood") == "elbo":
        yield f"model.family={model['family']}", "diffusers", "diffusion"
    if kind := model.get("quantization"):
        yield f"model.quantization={kind}", "bitsandbytes", "quantization"
    if (strategy := strategy_of(trainer)).is_deepspeed:
        yield f"strategy=deepspeed_zero{strategy.stage}", "deepspeed", "deepspeed"
    if (engine := plain.get("rollout", {}).get("engine")) == "vllm":
        yield f"rollout.engine={engine}", "vllm", "vllm"
    for other in logger.get("others", []):
        for name in ("wandb", "mlflow"):
            if name in str(other.get("_target_")).lower():
                yield f"logger={name}", name, name
