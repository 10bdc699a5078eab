"""Ways to train that fit into a device, found by rehearsing steps over the longest rows."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from aa_lightning.assembly.data import wanted_of
from aa_lightning.assembly.devices import GIB, Device, device_of
from aa_lightning.assembly.memory import held
from aa_lightning.assembly.options import options_of, processes_of
from aa_lightning.assembly.policy import build_policy
from aa_lightning.configuration.check import split_batch
from aa_lightning.configuration.strategy import Strategy, strategy_of
from aa_lightning.types import Algorithm, Batch, Encoder

if TYPE_CHECKING:
    from aa_lightning.assembly.memory import Held
    from aa_lightning.assembly.survey import Found
    from aa_lightning.training.rehearsal import Footprint

_USABLE = 0.9  # of a device's memory: the rest is for fragments and for what libraries hold
_MOST = 8  # prompts in a forward pass, unless more are asked for
_WORTH = 0.95  # of the seconds as typed: less is no reason to change what was typed
_RANK = 16  # of the adapters that are proposed
_SHARDED = {  # strategies by their names in conf/strategy, as they are proposed for several processes
    "ddp": Strategy("DDP"),
    "fsdp": Strategy("FSDP"),
    "deepspeed_zero2": Strategy("DeepSpeed", 2),
    "deepspeed_zero3": Strategy("DeepSpeed", 3),
}


COLUMNS = ["", "rows", "trains", "reference", "again", "strategy", "GiB", "s/step"]  # prompts of a forward pass


class CannotPlan(ValueError):
    """A model whose step depends on numbers that its weights give."""


@dataclass(frozen=True)
class Way:
    """One way to take the same steps.

    Attributes:
        micro: prompts per forward pass and process.
        checkpointing: whether activations are computed again.
        rank: of adapters; 0: all that is not frozen trains.
        quantization: of frozen weights.
        reference: `model.reference`.
        strategy: by its name in conf/strategy; "": as typed.
    """

    micro: int
    checkpointing: bool
    rank: int
    quantization: str | None
    reference: str
    strategy: str = ""

    @property
    def method(self) -> tuple[int, str | None]:
        """The weights that train, and the quantization of the others."""
        return self.rank, self.quantization

    def differs(self, other: Way) -> list[str]:
        """List what to type for this way where the other is typed."""
        found = [f"strategy={self.strategy}"] if self.strategy else []
        keys = {
            "loader.micro_batch_size": (self.micro, other.micro),
            "model.gradient_checkpointing": (str(self.checkpointing).lower(), str(other.checkpointing).lower()),
            "model.lora.rank": (self.rank, other.rank),
            "model.reference": (self.reference, other.reference),
            "model.quantization": (self.quantization or "null", other.quantization or "null"),
        }
        return found + [f"{key}={own}" for key, (own, others) in keys.items() if own != others]

    def cells(self) -> list[str]:
        """For people."""
        trains = f"{'QLoRA' if self.quantization else 'LoRA'} {self.rank}" if self.rank else "all"
        return [str(self.micro), trains, self.reference, "yes" if self.checkpointing else "no", self.strategy]


@dataclass(frozen=True)
class Option:
    """A way with what it would take.

    Attributes:
        held: bytes on one process.
        seconds: of a step.
    """

    way: Way
    held: Held
    seconds: float

    def fits(self, device: Device) -> bool:
        """Tell whether a device has the memory."""
        return self.held.total <= _USABLE * device.memory

    def is_hopeless(self, device: Device) -> bool:
        """Tell whether smaller passes would not fit either."""
        return self.held.total - self.held.working > _USABLE * device.memory


@dataclass(frozen=True)
class Plan:
    """Ways that were found.

    Attributes:
        typed: as it was typed.
        options: what fits, best first: what trains the same weights, then by time. Where nothing does, what needs least.
        tflop: of a step as typed, on one process.
        device: that they are for.
    """

    typed: Option
    options: Sequence[Option]
    tflop: float
    device: Device

    @property
    def fits(self) -> bool:
        """Tell whether any way does."""
        return self.options[0].fits(self.device)

    def rows(self) -> list[list[str]]:
        """Of a table: the typed way, then the options, told in GiB and seconds."""
        others = [option for option in self.options if option.way.differs(self.typed.way)]
        return [["typed", *_told(self.typed)]] + [[str(i), *_told(one)] for i, one in enumerate(others, 1)]


def _told(option: Option) -> list[str]:
    return [*option.way.cells(), f"{option.held.total / GIB:.3g}", f"{option.seconds:.3g}"]


def plan(cfg: DictConfig, algorithm: Algorithm, encoder: Encoder, found: Found) -> Plan:
    """Look for ways that fit.

    Args:
        encoder: that has read the rows.
        found: the rows that train.

    Raises:
        CannotPlan: a step of this model cannot be rehearsed.
    """
    device, processes = device_of(cfg.card, cfg.memory_gib, cfg.trainer.accelerator), processes_of(cfg)
    share = found.loader.batch_size // processes
    micro, _ = split_batch(found.loader.batch_size, found.loader.micro_batch_size, processes)
    typed = Way(
        micro, cfg.model.gradient_checkpointing, cfg.model.lora.rank, cfg.model.quantization, cfg.model.reference
    )
    sizes = [size for size in range(share, 0, -1) if share % size == 0 and size <= max(_MOST, micro)]
    tried = _Tries(cfg, algorithm, encoder, found, device, processes)
    first, ways = tried.option(typed), [*_ways(typed, algorithm, device, processes)]
    # what needs not be computed twice is faster than larger passes are
    lighter = [[replace(way, micro=n, checkpointing=again) for again in (False, True) for n in sizes] for way in ways]
    fit = [option for one in lighter if (option := _first_that_fits(map(tried.option, one), device)) is not None]
    fit += [first] if first.fits(device) else []
    fit.sort(key=lambda one: (one.way.method != typed.method, one.seconds * (_WORTH if one is first else 1)))
    least = [] if fit else [min((tried.option(one[-1]) for one in lighter), key=lambda option: option.held.total)]
    return Plan(first, fit or least, first.seconds * tried.rate / 1e12, device)


def _first_that_fits(options: Iterable[Option], device: Device) -> Option | None:
    """The first of options, the heaviest first."""
    for option in options:
        if option.fits(device):
            return option
        if option.is_hopeless(device):
            break
    return None


def _ways(typed: Way, algorithm: Algorithm, device: Device, processes: int) -> Iterator[Way]:
    """List what may train and where, each once."""
    methods = [typed.method]
    if algorithm.ref_sync is None:  # a reference that moves is a copy
        methods += [(typed.rank or _RANK, None)]
        methods += [(typed.rank or _RANK, "nf4")] if device.kind == "cuda" else []
    keeps = algorithm.uses_reference and algorithm.of_reference is not None and algorithm.ref_sync is None
    references = dict.fromkeys([typed.reference, *(["kept"] if keeps else [])])
    strategies = _SHARDED if processes > 1 else [""]
    for (rank, quantization), reference, strategy in product(dict.fromkeys(methods), references, strategies):
        if quantization is None or strategy in ("", "ddp"):  # shards are of plain weights
            yield replace(typed, rank=rank, quantization=quantization, reference=reference, strategy=strategy)


class _Tries:
    """Rehearsals of one configuration, each taken once."""

    def __init__(
        self, cfg: DictConfig, algorithm: Algorithm, encoder: Encoder, found: Found, device: Device, processes: int
    ):
        self.cfg, self.algorithm, self.encoder, self.found = cfg, algorithm, encoder, found
        self.device, self.processes = device, processes
        self.rate = device.flop_per_s(cfg.trainer.precision not in ("32-true", "32"))
        self.footprint, self.policy, self.batch = map(functools.cache, (self._footprint, self._policy, self._batch))

    def option(self, way: Way) -> Option:
        """Tell what a way takes."""
        trainer = OmegaConf.to_container(self.cfg.trainer, resolve=True)
        strategy = _SHARDED[way.strategy] if way.strategy else strategy_of(trainer)
        alike = replace(way, strategy="", quantization=None)
        policy = self.policy(replace(alike, micro=0), strategy.is_deepspeed)
        footprint = self.footprint(alike, strategy.is_deepspeed)
        copies = self.device.kind == "cuda" and self.cfg.trainer.precision.endswith("-mixed")
        passes = self.found.loader.batch_size // (way.micro * self.processes)
        flop = footprint.flop * passes * self.found.trained.usual_share
        taken = held(footprint, policy, strategy, self.processes, way.quantization, copies)
        return Option(way, taken, flop / self.rate)

    def _footprint(self, way: Way, in_half: bool) -> Footprint:
        from aa_lightning.training.rehearsal import rehearse

        several = way.micro * self.processes < self.found.loader.batch_size
        policy, precision = self.policy(replace(way, micro=0), in_half), self.cfg.trainer.precision
        try:
            return rehearse(policy, self.algorithm, self.batch(way.micro), "32-true" if in_half else precision, several)
        except Exception as error:  # whatever a model's own code may raise where there are no numbers
            raise CannotPlan(
                f"memory and time of {self.cfg.model.path} cannot be told beforehand: its step needs the numbers of its "
                f"weights ({type(error).__name__}: {error})"
            ) from error

    def _policy(self, way: Way, in_half: bool) -> Any:
        """A policy whose weights are of 16 bits where DeepSpeed holds them."""
        cfg = self.cfg.copy()
        cfg.model.gradient_checkpointing, cfg.model.lora.rank = way.checkpointing, way.rank
        cfg.model.reference, cfg.model.quantization = way.reference, None
        cfg.model.dtype = "bfloat16" if in_half else cfg.model.dtype
        return build_policy(cfg, self.algorithm, None, weightless=True)

    def _batch(self, micro: int) -> Batch:
        """The longest rows, again and again where there are fewer; with responses as long as may be drawn, where those are
        learned from."""
        from aa_lightning.training.datamodule import EncodedExamples
        from aa_lightning.training.drawing import longest_drawn

        rows = self.found.trained.longest_first
        examples = EncodedExamples(self.found.train, self.encoder, 0, wanted_of(self.algorithm))
        items = [examples[rows[i % len(rows)]] for i in range(micro)]
        if self.algorithm.draws_responses:
            return longest_drawn(self.encoder, items, self.algorithm, options_of(self.cfg, "rollout"))
        return examples.collate(items)
