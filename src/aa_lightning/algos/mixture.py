"""Several objectives on the same batch, as a weighted sum."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from aa_lightning.algos.hyperparameters import PolicyObjective, hyperparameters
from aa_lightning.algos.plain import completed
from aa_lightning.types import Batch, LikelihoodKind, Policy


@hyperparameters
class Mixture(PolicyObjective):
    """Σ weight · loss over its parts (MPO, mDPO, HA-DPO …); what two parts read of a model is computed once.

    Attributes:
        parts: objectives by name.
        weights: of each, by the same names.
    """

    parts: dict[str, Any]
    weights: dict[str, float]

    def __post_init__(self):
        if set(self.parts) != set(self.weights):
            raise ValueError(f"algo.parts has {', '.join(self.parts)} and algo.weights {', '.join(self.weights)}")
        # while options are checked, parts are settings still
        made = {name: part if isinstance(part, dict) else completed(part) for name, part in self.parts.items()}
        object.__setattr__(self, "parts", made)

    @property
    def supervision(self) -> str:
        """The richest kind that a part learns from."""
        kinds = [part.supervision for part in self.parts.values()]
        return next((kind for kind in ("feedback", "preference") if kind in kinds), kinds[0])

    @property
    def uses_reference(self) -> bool:
        return any(part.uses_reference for part in self.parts.values())

    @property
    def moving(self) -> None:
        """All parts share one reference, which stays.

        Raises:
            ValueError: a part would move it.
        """
        for name, part in self.parts.items():
            if part.moving is not None:
                raise ValueError(
                    f"algo.parts.{name}.moving moves a reference that all parts of a mixture share: type "
                    f"algo.parts.{name}.moving=null, or algo=tr_dpo, which stands alone"
                )

    @property
    def accepts(self) -> tuple[LikelihoodKind, ...]:
        return tuple(kind for kind in ("exact", "bound") if all(kind in part.accepts for part in self.parts.values()))

    @property
    def wants(self) -> tuple[str, ...]:
        return tuple(sorted({name for part in self.parts.values() for name in part.wants}))

    @property
    def corruption(self):
        """How the corrupted branch is made.

        Raises:
            ValueError: two parts want two of them.
        """
        wanted = [part.corruption for part in self.parts.values() if "corrupted" in part.wants]
        if any(one != wanted[0] for one in wanted):
            raise ValueError("the parts of a mixture share one corrupted prompt: give all of them the same corruption")
        return wanted[0] if wanted else None

    @property
    def remembers(self) -> tuple[str, ...]:
        """Each part's statistics under its own name: two running means are two."""
        return tuple(f"{name}/{key}" for name, part in self.parts.items() for key in part.remembers)

    def normalizer(self, batch: Batch) -> list[float]:
        """Each part's own."""
        return [part.normalizer(batch) for part in self.parts.values()]

    def __call__(self, policy: Policy, batch: Batch):
        once, loss, metrics = Once(policy), 0.0, {}
        for place, (name, part) in enumerate(self.parts.items()):
            memory = {key: batch.memory[f"{name}/{key}"] for key in part.remembers}
            normalizer = None if batch.normalizer is None else batch.normalizer[place]
            own, found = part(once, replace(batch, memory=memory, normalizer=normalizer))
            batch.memory.update({f"{name}/{key}": value for key, value in memory.items()})
            loss = loss + self.weights[name] * own
            metrics = {**found, **metrics, f"loss/{name}": own.detach()}
        return loss, metrics


class Once:
    """A policy that reads each batch once; the parts of a mixture ask for the same numbers."""

    def __init__(self, policy: Policy):
        self._policy, self._ours, self._theirs = policy, {}, {}
        self.likelihood = policy.likelihood

    def log_likelihood(self, batch: Batch, collision: bool = False, read: Any = None):
        if collision or read is not None:
            return self._policy.log_likelihood(batch, collision, read)
        return _remembered(self._ours, self._policy, batch)

    def noisy_embeddings(self, alpha: float):
        """What a part reads under noise would be read by the others too.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            "noise on embeddings stands alone: set the noise of this part of algo.parts to 0, or algo=neftune"
        )

    def likeliest(self, batch: Batch):
        return self._policy.likeliest(batch)

    def with_divergence(self, batch: Batch):
        return self._policy.with_divergence(batch)

    @contextmanager
    def as_reference(self):
        with self._policy.as_reference() as reference:
            yield _OnceReference(reference, self._theirs)


class _OnceReference:
    def __init__(self, reference: Any, read: dict):
        self._reference, self._read = reference, read

    def log_likelihood(self, batch: Batch, collision: bool = False, read: Any = None):
        if read is not None:
            return self._reference.log_likelihood(batch, read=read)
        return _remembered(self._read, self._reference, batch)

    def with_divergence(self, batch: Batch):
        return self.log_likelihood(batch)


def _remembered(read: dict, model: Any, batch: Batch):
    """A batch is known by its tensors; what is kept holds them too, or others could come to have the same identity."""
    key = id(batch.prompt), id(batch.response)
    if key not in read:
        read[key] = batch, model.log_likelihood(batch)
    return read[key][1]
