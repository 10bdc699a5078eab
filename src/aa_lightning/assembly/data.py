"""The rows of a run: read, checked against algorithm and model, and dealt into steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from aa_lightning.assembly.compatibility import check_reads, check_spoiled
from aa_lightning.assembly.options import options_of, processes_of
from aa_lightning.assembly.rewards import build_rewards
from aa_lightning.assembly.rollouts import build_engine, rollouts_for
from aa_lightning.configuration.check import data_schema, split_batch
from aa_lightning.data.kinds import can_serve
from aa_lightning.data.options import DataOptions
from aa_lightning.types import Algorithm, Example, Kind

if TYPE_CHECKING:
    from aa_lightning.data.mixture import MixtureOptions
    from aa_lightning.training.datamodule import HeldOutRows

    Data = DataOptions | MixtureOptions

Fit = Callable[[Sequence[Example]], Sequence[Example]]


def _whole(found: Sequence[Example]) -> Sequence[Example]:
    return found


def data_options(cfg: DictConfig) -> Data:
    """The `data` section as its typed option class; what only columns tell is read off them.

    Raises:
        FileNotFoundError: a data file is not there.
        ValueError: columns that are not recognised without a template.
    """
    from aa_lightning.data.template.infer import completed

    plain = OmegaConf.to_container(cfg.data, resolve=True)
    data = data_schema(plain)(**plain)
    if isinstance(data, DataOptions):
        return completed(data)
    return replace(data, parts={name: replace(p, data=completed(p.data)) for name, p in data.parts.items()})


def build_data(cfg: DictConfig, algorithm: Algorithm, encoder: Any, data: Data) -> Any:
    """The data module of a run.

    Args:
        encoder: of the model that reads the rows.
        data: of `data_options`.

    Raises:
        ValueError: rows that the algorithm or the model cannot read.
    """
    from aa_lightning.assembly.inspection import columns, left_out, one_class
    from aa_lightning.system.console import say

    served, fit = data.serving(algorithm), partial(only_fitting, cfg, encoder=encoder, wanted=wanted_of(algorithm))
    train = read_examples(served, "train", algorithm.supervision, fit)
    rows, held_out = read_held_out(cfg, algorithm, encoder, data)
    if cfg.trainer.val_check_interval is None or not data.holds_out:
        validation = train[:0]
    elif (algorithm.supervision, served) == (held_out.kind, as_measured(data, algorithm)) and rows:
        validation = fit(rows)
    else:
        validation = read_examples(served, "val", algorithm.supervision, fit)
    loader = checked_loader(cfg, algorithm, train, held_out.examples)
    if processes_of(cfg) > 1:
        encoder = encoder.with_companions(shown_in(train, validation, held_out.examples))
    for line in (*columns(served, cfg.data), *left_out(train.dropped), *one_class(train.labels)):
        say(line)
    if loader.batch_size < cfg.loader.batch_size:
        say(f"a step takes {loader.batch_size} prompts and not {cfg.loader.batch_size}: the data has no more")
    micro, accumulate = split_batch(loader.batch_size, loader.micro_batch_size, processes_of(cfg))
    given = (train, validation, held_out, encoder, loader, micro, accumulate, cfg.seed, wanted_of(algorithm))
    return _data_module(cfg, algorithm, given)


def _data_module(cfg: DictConfig, algorithm: Algorithm, given: tuple) -> Any:
    """The data module of rows, or of what is drawn to them."""
    from aa_lightning.training.datamodule import AlignmentData
    from aa_lightning.training.rollouts import RolloutData

    if not algorithm.draws_responses:
        return AlignmentData(*given, algorithm.normalizer)
    rollouts = rollouts_for(options_of(cfg, "rollout"), given[4].batch_size, len(given[0]))
    return RolloutData(
        *given,
        algorithm.normalizer,
        algorithm=algorithm,
        engine=build_engine(rollouts),
        rewards=build_rewards(cfg),
        rollouts=rollouts,
    )


def as_measured(data: Data, algorithm: Algorithm) -> Data:
    """Rows as they are, so that all objectives are measured alike; their steps only for who learns from them."""
    return data.serving(algorithm) if "steps" in algorithm.wants else data


def read_held_out(
    cfg: DictConfig, algorithm: Algorithm, encoder: Any, data: Data
) -> tuple[Sequence[Example], HeldOutRows]:
    """All held-out rows, and those of them that are measured: as rich as they are, and each read once."""
    from aa_lightning.training.datamodule import HeldOutRows

    data, count = as_measured(data, algorithm), cfg.evaluation.num_examples
    richest_first: tuple[Kind, ...] = ("preference", "rating", "demonstration")
    kinds = [kind for kind in richest_first if all(can_serve(known, kind) for known in data.kinds.values())]
    kind = next(iter(kinds), "prompt")
    if not count or not data.holds_out:
        return [], HeldOutRows(kind, [])
    rows = read_examples(data, "val", kind, keep=options_of(cfg, "loader").kept_bytes)
    return rows, HeldOutRows(kind, only_fitting(cfg, rows[:count], encoder))


def checked_loader(cfg: DictConfig, algorithm: Algorithm, train: Any, held_out: Any) -> Any:
    """The options of the loader, for rows that algorithm and model can read.

    Args:
        train, held_out: examples.

    Raises:
        ValueError: they show media that cannot be read, or none where some are needed; there are too few.
    """
    check_spoiled(cfg, algorithm, train.media)
    check_reads(cfg, shown_in(train, held_out))
    loader, processes = options_of(cfg, "loader"), processes_of(cfg)
    split_batch(loader.batch_size, loader.micro_batch_size, processes)
    if cfg.evaluation.num_examples and 0 < len(held_out) < processes:
        raise ValueError(
            f"{len(held_out)} held-out rows cannot be shared among {processes} processes: type data.val_share=0.3 to hold "
            "out more rows, or evaluation.num_examples=0 to measure nothing"
        )
    return replace(loader, batch_size=fitting_batch(loader, len(train), processes))


def shown_in(*splits: Any) -> frozenset[str]:
    """The media that prompts of some splits show."""
    return frozenset().union(*(rows.media for rows in splits if len(rows)))


def fitting_batch(loader: Any, rows: int, processes: int) -> int:
    """The prompts of a step: as many as were asked for, and no more than there are rows.

    Raises:
        ValueError: there are fewer rows than each step needs at least.
    """
    if loader.batch_size <= rows:
        return loader.batch_size
    together = processes * (loader.micro_batch_size or 1)
    if rows < together:
        raise ValueError(
            f"there are {rows} rows to train on, and a step takes {together} at least ({processes} processes × "
            f"{loader.micro_batch_size or 1} prompts): give more rows, or type a smaller loader.micro_batch_size or "
            "trainer.devices"
        )
    return rows - rows % together


def wanted_of(algorithm: Algorithm) -> Any:
    """Collect what batches must bring for an algorithm."""
    from aa_lightning.training.datamodule import Wanted

    return Wanted(algorithm.wants, algorithm.corruption, tuple(algorithm.criteria))


def read_examples(data: Data, split: str, kind: Kind, fit: Fit = _whole, keep: int = 0) -> Sequence[Example]:
    """Decoded examples of a split, weakened to the kind that is asked for.

    Args:
        fit: leaves out what is too long, of each part of a mixture by itself, so that shares stay as they are.
        keep: bytes of rows, as the template made them, that stay in memory.
    """
    if isinstance(data, DataOptions):
        from aa_lightning.data.examples import load_examples

        return fit(load_examples(data, split, kind, keep))
    from aa_lightning.data.mixture import load_mixture

    return load_mixture(data, split, kind, fit, keep)


def only_fitting(cfg: DictConfig, found: Sequence[Example], encoder: Any, wanted: Any = None) -> Sequence[Example]:
    """The examples that can be read and are within the limits of length, where others are to be left out.

    Args:
        wanted: what batches bring of each besides responses; that must fit as well.
    """
    from aa_lightning.training.datamodule import Fitting

    long, bad = cfg.loader.overlong == "skip", found.on_bad_row == "skip"
    return Fitting(found, encoder, long, bad, wanted) if len(found) and (long or bad) else found
