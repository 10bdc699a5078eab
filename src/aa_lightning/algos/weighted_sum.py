"""Several objectives on the same batch, as a weighted sum."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aa_lightning.algos.hyperparameters import PolicyObjective, hyperparameters
from aa_lightning.algos.plain import completed
from aa_lightning.algos.step import ALONE, Step, computed
from aa_lightning.types import Batch, Likelihood, LikelihoodKind, Policy, Statistic

if TYPE_CHECKING:
    from torch import Tensor


@hyperparameters
class WeightedSum(PolicyObjective):
    """Σ weight · loss over its objectives (MPO, mDPO, HA-DPO …); what two of them read of a model is computed once.

    Attributes:
        objectives: by name.
        weights: of each, by the same names.
    """

    objectives: dict[str, Any]
    weights: dict[str, float]

    def __post_init__(self):
        if set(self.objectives) != set(self.weights):
            raise ValueError(
                f"algo.objectives has {', '.join(self.objectives)} and algo.weights {', '.join(self.weights)}"
            )
        # while options are checked, objectives are settings still
        made = {
            name: objective if isinstance(objective, dict) else completed(objective)
            for name, objective in self.objectives.items()
        }
        object.__setattr__(self, "objectives", made)

    @property
    def supervision(self) -> str:
        """The richest kind that an objective learns from."""
        kinds = [objective.supervision for objective in self.objectives.values()]
        return next((kind for kind in ("feedback", "preference") if kind in kinds), kinds[0])

    @property
    def uses_reference(self) -> bool:
        return any(objective.uses_reference for objective in self.objectives.values())

    @property
    def of_reference(self) -> tuple[str, ...] | None:
        read = [objective.of_reference for objective in self.objectives.values() if objective.uses_reference]
        return None if None in read else tuple(sorted({name for names in read for name in names}))

    @property
    def ref_sync(self) -> None:
        """All objectives share one reference, which stays.

        Raises:
            ValueError: an objective would move it.
        """
        for name, objective in self.objectives.items():
            if objective.ref_sync is not None:
                raise ValueError(
                    f"algo.objectives.{name}.ref_sync moves a reference that all objectives share: type "
                    f"algo.objectives.{name}.ref_sync=null, or algo=tr_dpo, which stands alone"
                )

    @property
    def noise(self) -> float:
        """All objectives share one forward pass, so noise for one would reach the others.

        Raises:
            ValueError: an objective has some.
        """
        for name, objective in self.objectives.items():
            if objective.noise:
                raise ValueError(
                    f"algo.objectives.{name}.noise is noise on embeddings that all objectives read: type "
                    f"algo.objectives.{name}.noise=0, or algo=neftune, which stands alone"
                )
        return 0.0

    @property
    def accepts(self) -> tuple[LikelihoodKind, ...]:
        return tuple(
            kind
            for kind in ("exact", "elbo")
            if all(kind in objective.accepts for objective in self.objectives.values())
        )

    @property
    def wants(self) -> tuple[str, ...]:
        return tuple(sorted({name for objective in self.objectives.values() for name in objective.wants}))

    @property
    def corruption(self):
        """Corruption with which the corrupted branch is made.

        Raises:
            ValueError: two objectives want two of them.
        """
        wanted = [objective.corruption for objective in self.objectives.values() if "corrupted" in objective.wants]
        if any(one != wanted[0] for one in wanted):
            raise ValueError("all objectives share one corrupted prompt: give all of them the same corruption")
        return wanted[0] if wanted else None

    @property
    def remembers(self) -> tuple[str, ...]:
        """Each objective's statistics under its own name: two running means are two."""
        return tuple(f"{name}/{key}" for name, objective in self.objectives.items() for key in objective.remembers)

    def normalizer(self, batch: Batch) -> list[float]:
        """Each objective's own."""
        return [objective.normalizer(batch) for objective in self.objectives.values()]

    def __call__(self, policy: Policy, batch: Batch, step: Step = ALONE):
        once, loss, metrics = Once(policy), 0.0, {}
        for place, (name, objective) in enumerate(self.objectives.items()):
            memory = {key: step.memory[f"{name}/{key}"] for key in objective.remembers}
            normalizer = None if step.normalizer is None else step.normalizer[place]
            own = replace(step, memory=memory, normalizer=normalizer)
            one_loss, one_metrics = computed(objective, once, batch, own)
            step.memory.update({f"{name}/{key}": value for key, value in memory.items()})
            loss = loss + self.weights[name] * one_loss
            metrics = {**one_metrics, **metrics, f"loss/{name}": one_loss.detach()}
        return loss, metrics


class _Once:
    """A model that reads each batch once; the objectives of a sum ask for the same numbers.

    Args:
        known: what was read, by the tensors of its batch. It holds them too, or others could come to have their identity.
    """

    def __init__(self, model: Likelihood, known: dict):
        self._model, self._known = model, known

    def log_likelihood(
        self, batch: Batch, tokens: Tensor | None = None, statistic: Statistic | None = None, measure: bool = False
    ):
        if tokens is not None or statistic is not None:
            return self._model.log_likelihood(batch, tokens, statistic, measure)
        key = id(batch.prompt), id(batch.response), measure
        if key not in self._known:
            self._known[key] = batch, self._model.log_likelihood(batch, measure=measure)
        return self._known[key][1]


class Once(_Once):
    """A policy that reads each batch once, and so does its reference."""

    def __init__(self, policy: Policy):
        super().__init__(policy, {})
        self.likelihood, self._theirs = policy.likelihood, {}

    @contextmanager
    def as_reference(self):
        with self._model.as_reference() as reference:
            yield _Once(reference, self._theirs)
