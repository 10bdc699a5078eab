"""The metrics of a whole step, out of those of its micro-batches on all processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from aa_lightning.algos.metrics import MOMENTS, of_moments
from aa_lightning.types import Metrics

if TYPE_CHECKING:
    from torch import Tensor


class Tally:
    """Adds up metrics until a step is whole.

    A mean weighs by the rows that it is over: all rows of its micro-batch, or as many as a count says: `count/<side>` of a
    metric `…/<side>`, `<metric>/count` of any other. Counts add up; a correlation is made of the step's own moments.
    """

    def __init__(self) -> None:
        self.parts = 0
        self._sums: dict[str, Tensor] = {}  # by name, (2,): Σ weight · value and Σ weight

    def add(self, metrics: Metrics, rows: int) -> None:
        """The loss and the metrics of one micro-batch of so many rows."""
        import torch

        self.parts += 1
        device = metrics["loss"].device
        dtype = torch.float32 if device.type == "mps" else torch.float64  # mps has no doubles
        like = {"dtype": dtype, "device": device}
        found = {name: torch.as_tensor(value, **like).detach() for name, value in metrics.items()}
        everyone = torch.full((), rows, **like)
        for name, value in found.items():
            weight = _weight(name, found, everyone)
            pair = torch.stack([value if _is_count(name) else weight * value, weight])
            self._sums[name] = self._sums[name] + pair if name in self._sums else pair

    def taken(self, reduce: Callable[[Tensor], Tensor]) -> Metrics:
        """The metrics of all that was added, on all processes; the tally begins anew.

        Args:
            reduce: sums a tensor over processes.
        """
        import torch

        names, sums = sorted(self._sums), self._sums
        self.parts, self._sums = 0, {}
        if not names:
            return {}
        totals = dict(zip(names, reduce(torch.stack([sums[name] for name in names])), strict=True))
        found = {
            name: total if _is_count(name) else total / weight.clamp(min=1e-9)
            for name, (total, weight) in totals.items()
        }
        if "count/chosen" in found and "reward/margin" in found:
            both = (found["count/chosen"] > 0) & (found["count/rejected"] > 0)
            found["reward/margin"] = (found["reward/chosen"] - found["reward/rejected"]) * both
        if "length/correlation" in found:
            found["length/correlation"] = of_moments(found, rows=totals[MOMENTS[0]][1])
        return {name: value.float() for name, value in found.items() if name not in MOMENTS}


def _is_count(name: str) -> bool:
    return name.startswith("count/") or name.endswith("/count")


def _weight(name: str, found: Metrics, rows: Tensor) -> Tensor:
    """Return how many rows a mean is over."""
    for over in (f"count/{name.rpartition('/')[2]}", f"{name}/count"):
        if over in found:
            return found[over]
    if "count/chosen" in found and name in MOMENTS:
        return found["count/chosen"]
    if "count/chosen" in found and name in ("reward/accuracy", "reward/margin"):
        return found["count/chosen"] + found["count/rejected"]
    return rows
