"""Results of frozen modules, each made once: found again by the bytes of the input and of the weights.

Inputs are read one at a time, so that what is kept does not hang on the batch in which an input came first.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from importlib.metadata import version
from typing import Any, Literal

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from aa_lightning.models.token.keys import KEY_BYTES, arithmetic_of, digests_of, take
from aa_lightning.system.bounded_store import BoundedStore
from aa_lightning.system.cache import cache_root, code_of

Inputs = Mapping[str, Any]  # of one medium: tensors, and whatever else the module is called with
_AUTO = 8192  # MiB
_LIBRARIES = ("torch", "transformers", "diffusers")  # of which the last may not be there


def features_store(wanted: Literal["auto", False] | int) -> BoundedStore | None:
    """The store that `model.keep_features` asks for; None: nothing is kept."""
    if not wanted:
        return None
    return BoundedStore(cache_root() / "features", (_AUTO if wanted == "auto" else wanted) * 2**20)


class Features:
    """Results of one frozen module, input by input.

    Args:
        module: that has a configuration.
        store: of results; None: everything is made each time.
    """

    def __init__(self, module: nn.Module, store: BoundedStore | None):
        self.module, self.store = module, store
        self._seen: list[tuple[int, int]] | None = None
        self._weights = b""

    def of(self, inputs: Sequence[Inputs], read: Callable[[Inputs], dict[str, Tensor]]) -> list[dict[str, Tensor]]:
        """Tensors of any shape that the module makes of each input, by names that `read` gives.

        Args:
            read: calls the module on one input.
        """
        if self.store is None:
            return [read(one) for one in inputs]
        maker = self._maker()
        keys = [_key_of(one) for one in inputs]
        found, made = self.store.get(maker, keys), {}
        for key, one in zip(keys, inputs, strict=True):
            if key not in found and key not in made:
                made[key] = save({name: value.contiguous() for name, value in read(one).items()})
        self.store.put(maker, made)
        found |= made
        device = next(self.module.parameters()).device
        return [{name: value.to(device) for name, value in load(found[key]).items()} for key in keys]

    def _maker(self) -> str:
        """A digest of weights and arithmetic, which is taken anew where a weight was written to, or moved."""
        weights = [*self.module.parameters(), *self.module.buffers()]
        seen = [(weight.data_ptr(), weight._version) for weight in weights]
        if seen != self._seen:
            self._seen, self._weights = seen, _digest_of(self.module)
        return blake2b(self._weights + _arithmetic(weights[0]).encode(), digest_size=KEY_BYTES).hexdigest()


def _key_of(inputs: Inputs) -> bytes:
    digest = blake2b(digest_size=KEY_BYTES)
    for name, value in sorted(inputs.items()):
        if isinstance(value, Tensor):
            take(digest, name, value)
        else:
            digest.update(f"{name} {value!r};".encode())
    return digest.digest()


def _digest_of(module: nn.Module) -> bytes:
    """Of the weights of a module, its class and configuration."""
    said = [type(module).__name__, vars(module.config), digests_of(module)]
    return blake2b(json.dumps(said, sort_keys=True, default=str).encode()).digest()


def _arithmetic(weight: Tensor) -> str:
    """Whatever else shapes the last bits of a number."""
    where = torch.cuda.get_device_name() if weight.is_cuda else torch.backends.cpu.get_cpu_capability()
    return f"{arithmetic_of(weight)} {where} {torch.get_num_threads()} {_software()}"


@functools.cache
def _software() -> str:
    return " ".join([*(version(name) for name in _LIBRARIES if name in sys.modules), code_of("models")])
