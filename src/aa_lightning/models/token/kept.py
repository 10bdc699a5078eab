"""A reference that is read once: its log-probabilities of the rows of a run, kept on the disk for this run and for others.

Before its first step a policy is its reference, so it reads what the rows of the run bring, and no second network is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from hashlib import blake2b
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from aa_lightning.configuration.schema import Model as ModelOptions
from aa_lightning.models.lora import Adapters
from aa_lightning.models.reference import Frozen, Reference, evaluating
from aa_lightning.models.token.keys import KEY_BYTES, arithmetic_of, digests_of
from aa_lightning.models.token.network import spread
from aa_lightning.system.cache import cache_root, code_of, keep_newest
from aa_lightning.system.store import Store
from aa_lightning.types import Batch, Likelihood, LogLikelihood, Statistic

_MOST = 16  # references that stay in the cache
_ELSEWHERE = ("_name_or_path", "transformers_version")  # of a model's configuration: say nothing of what it computes


class KeptReference(Reference):
    """Offers what the policy reads itself, and once it `may_move` the log-probabilities that `read` has put into a store.

    Args:
        store: of this reference alone.
        adapters: of the policy, which is the reference without them.
    """

    def __init__(self, store: Store, adapters: Adapters | None):
        super().__init__("kept", adapters=adapters)
        self.store, self.may_move = store, False

    @contextmanager
    def active(self, policy_network: nn.Module) -> Iterator[Likelihood]:
        """The reference, while the context lasts."""
        if self.may_move:
            yield _Kept(self.store, policy_network)
            return
        with self.adapters.off() if self.adapters else nullcontext(), evaluating(policy_network):
            yield Frozen(policy_network)

    def read(self, network: nn.Module, batch: Batch, anywhere: Callable[[bool], bool]) -> tuple[list[bytes], int]:
        """Read a prepared batch with the policy's network, and keep what is not there yet.

        Args:
            network: whose weights have not moved.
            anywhere: whether something is true of any process: sharded ones read together.

        Returns:
            The keys of the responses, and how many of these were not there.
        """
        keys = _keys(network, batch)
        missing = {*keys} - self.store.get(keys).keys()
        if not anywhere(bool(missing)):
            return keys, 0
        with self.active(network) as reference:
            terms = reference.log_likelihood(batch).terms.flatten(0, 1).cpu()
        counted = batch.response["mask"][: len(batch)].flatten(0, 1).bool().cpu()
        of_keys = zip(keys, terms, counted, strict=True)
        self.store.put({key: row[there].numpy().tobytes() for key, row, there in of_keys if key in missing})
        return keys, sum(key in missing for key in keys)


class Unread(Reference):
    """Stands for what a store would say where a step is only rehearsed: its shape, without a number."""

    def __init__(self, adapters: Adapters | None):
        super().__init__("kept", adapters=adapters)

    @contextmanager
    def active(self, policy_network: nn.Module) -> Iterator[Likelihood]:
        """The reference, while the context lasts."""
        yield self

    def log_likelihood(
        self, batch: Batch, tokens: Tensor | None = None, statistic: Statistic | None = None, measure: bool = False
    ) -> LogLikelihood:
        """Zeros, (P, K, T)."""
        mask = batch.response["mask"][: len(batch)]
        return LogLikelihood(torch.zeros_like(mask), mask)


class _Kept:
    """The log-probabilities of a store, as a reference gives them."""

    def __init__(self, store: Store, network: nn.Module):
        self._store, self._network = store, network

    def log_likelihood(
        self, batch: Batch, tokens: Tensor | None = None, statistic: Statistic | None = None, measure: bool = False
    ) -> LogLikelihood:
        """Its terms, (P, K, T).

        Raises:
            ValueError: something else is asked for than was kept, or it is gone.
        """
        if tokens is not None or statistic is not None or measure:
            raise ValueError(
                "the algorithm asks the reference for more than the log-probabilities of responses, and model.reference=kept "
                "keeps these alone: type model.reference=auto"
            )
        mask, keys = batch.response["mask"][: len(batch)], _keys(self._network, batch)
        found = self._store.get(keys)
        if len(found) < len({*keys}):
            raise ValueError(
                f"the reference's log-probabilities of rows {', '.join(batch.ids)} are not in {self._store.folder} any more, "
                "and the policy has moved since it read them: type resume=<run folder>, which reads them again"
            )
        terms = torch.from_numpy(np.frombuffer(b"".join(found[key] for key in keys), np.float32).copy())
        return LogLikelihood(spread(terms.to(mask.device), mask), mask)


def store_of(model: nn.Module, beside: list[nn.Module], options: ModelOptions) -> Store:
    """The store of a reference, found again by its weights and whatever else shapes its numbers.

    Args:
        model: as it was loaded.
        beside: networks outside of it that make what it reads.
        options: the `model` section of the configuration.
    """
    shaped_by = {
        "options": [options.attention, options.prefix_sharing, options.speech.speaker],
        "config": _scrubbed(model.config.to_dict()),
        "libraries": {name: version(name) for name in ("torch", "transformers")},
        "code": code_of("models", "types.py"),
        "weights": [digests_of(one) for one in (model, *beside)],
    }
    said = json.dumps(shaped_by, sort_keys=True, default=str)
    folder = cache_root() / "references" / blake2b(said.encode(), digest_size=KEY_BYTES).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    folder.touch()
    keep_newest(folder.parent, _MOST)
    return Store(folder)


def _scrubbed(said: Any) -> Any:
    """A configuration without where it comes from."""
    if isinstance(said, dict):
        return {str(key): _scrubbed(value) for key, value in said.items() if key not in _ELSEWHERE}
    return [_scrubbed(value) for value in said] if isinstance(said, list | tuple) else said


def _keys(network: nn.Module, batch: Batch) -> list[bytes]:
    """The keys of a batch's responses one after another, for the arithmetic that is in force."""
    arithmetic = arithmetic_of(next(network.parameters())).encode()
    rows = batch.response["key"].flatten(0, 1).cpu().numpy()
    return [blake2b(row.tobytes() + arithmetic, digest_size=KEY_BYTES).digest() for row in rows]
