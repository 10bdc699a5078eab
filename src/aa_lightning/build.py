"""Configuration to objects: the only place that calls Hydra's instantiate."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pydantic import TypeAdapter

from aa_lightning.compatible import check_compatible, check_spoiled
from aa_lightning.config import SECTIONS, data_schema, model_schema, split_batch
from aa_lightning.data.corruption import CorruptionOptions
from aa_lightning.data.options import DataOptions
from aa_lightning.types import Algorithm, Example, Kind, can_serve
from aa_lightning.workers import is_worker

if TYPE_CHECKING:
    from aa_lightning.data.mixture import MixtureOptions

    Data = DataOptions | MixtureOptions

Fit = Callable[[Sequence[Example]], Sequence[Example]]


def _whole(found: Sequence[Example]) -> Sequence[Example]:
    return found


@dataclass
class Run:
    """Everything that a command needs of one configuration."""

    algorithm: Algorithm
    policy: Any
    module: Any
    data: Any
    trainer: Any
    suite: Any
    folder: Path


def options(cfg: DictConfig, section: str) -> Any:
    """A section of the configuration as its typed option class."""
    plain = OmegaConf.to_container(cfg[section], resolve=True)
    plain.pop("_target_", None)
    schema = model_schema(plain["likelihood"]) if section == "model" else SECTIONS[section]
    return TypeAdapter(schema).validate_python(plain)


def data_options(cfg: DictConfig) -> Data:
    """The `data` section as its typed option class."""
    plain = OmegaConf.to_container(cfg.data, resolve=True)
    return TypeAdapter(data_schema(plain)).validate_python(plain)


def build_run(cfg: DictConfig, folder: Path) -> Run:
    """Build a training run.

    Args:
        cfg: the composed and checked configuration.
        folder: of the run.

    Raises:
        ValueError: parts that cannot work together, with what to type instead.
    """
    import lightning as L
    import torch

    from aa_lightning.module import AlignmentModule
    from aa_lightning.stages import starting_point

    L.seed_everything(cfg.seed, workers=True, verbose=False)
    if cfg.threads is not None:
        torch.set_num_threads(cfg.threads)
    algorithm = instantiate(cfg.algo, _convert_="all")
    data = data_options(cfg)
    check_compatible(cfg, algorithm, data.serving(algorithm))
    policy = build_policy(cfg, algorithm, starting_point(cfg))
    plain = OmegaConf.to_container(cfg, resolve=True)
    module = AlignmentModule(policy, algorithm, options(cfg, "optimizer"), plain)
    trainer_settings = instantiate(cfg.trainer, _convert_="all", _partial_=True)
    datamodule = build_data(cfg, algorithm, policy)
    policy.encoder.companions = datamodule.media if processes_of(cfg) > 1 else None
    suite = build_suite(cfg, algorithm, policy, data)
    trainer = trainer_settings(
        logger=_loggers(cfg, folder),
        callbacks=_callbacks(cfg, suite, folder, algorithm),
        accumulate_grad_batches=datamodule.accumulate,
        default_root_dir=folder,
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **_validation(cfg),
    )
    return Run(algorithm, policy, module, datamodule, trainer, suite, folder)


def build_policy(cfg: DictConfig, algorithm: Algorithm, start: str | None) -> Any:
    """The policy or reward model that the algorithm trains.

    Args:
        start: weights to start from, a folder or a checkpoint; None: those of `model.path`.
    """
    from aa_lightning.models import load

    model = options(cfg, "model")
    checkpoint = Path(start) if start is not None and start.endswith(".ckpt") else None
    if start is not None and checkpoint is None:
        model = replace(model, path=start)
    if algorithm.trains == "reward_model":
        return load.load_scorer(model, _limits(cfg), checkpoint, algorithm.heads, algorithm.speaks)
    if cfg.model.likelihood == "bound":
        from aa_lightning.models.diffusion import load_diffusion

        return load_diffusion(model, algorithm.uses_reference, checkpoint)
    return load.load_policy(model, _limits(cfg), algorithm.uses_reference, checkpoint)


def build_encoder(cfg: DictConfig) -> Any:
    """A token model's encoder, without its weights."""
    from aa_lightning.models import load

    return load.load_encoder(options(cfg, "model"), _limits(cfg))


def build_chat_policy(cfg: DictConfig) -> Any:
    """The policy that generates: of a run, with its trained weights, or the model's own.

    Raises:
        ValueError: the run has no export, or trained a reward model.
    """
    from aa_lightning.models import load
    from aa_lightning.stages import export_of

    model = options(cfg, "model")
    if cfg.run is not None:
        if instantiate(cfg.algo, _convert_="all").trains == "reward_model":
            raise ValueError(
                f"run={cfg.run} trained a reward model, which scores answers and writes none: type "
                f"python -m aa_lightning.evaluate run={cfg.run}, or run=<a run that trained a policy>"
            )
        merged = replace(model.lora, rank=0)
        model = replace(model, path=str(export_of(cfg.run)), lora=merged)
    if cfg.model.likelihood == "bound":
        from aa_lightning.models.diffusion import load_diffusion

        return load_diffusion(model, False).eval()
    return load.load_policy(model, _limits(cfg), False).eval()


def estimate_cost(cfg: DictConfig, algorithm: Algorithm, lengths: Any) -> tuple[Any, int]:
    """What a step would cost, and how many prompts a forward pass takes."""
    from aa_lightning import inspection
    from aa_lightning.models import load

    model = options(cfg, "model")
    micro, _ = split_batch(cfg.loader.batch_size, cfg.loader.micro_batch_size, processes_of(cfg))
    form = load.choose_form(model.reference, model.lora.rank, algorithm.uses_reference)
    responses = max(1, len(lengths.responses) // max(1, len(lengths.prompts)))
    outline = load.outline(model)
    return inspection.estimate(outline, model, lengths, micro, responses, form == "frozen"), micro


def _limits(cfg: DictConfig) -> Any:
    from aa_lightning.models.encoding import Limits

    loader = cfg.loader
    return Limits(prompt=loader.max_prompt_tokens, response=loader.max_response_tokens, on_long=loader.on_long)


# ---------------------------------------------------------------- data


def build_data(cfg: DictConfig, algorithm: Algorithm, policy: Any) -> Any:
    """The data module of a run."""
    from aa_lightning.datamodule import AlignmentData

    processes = processes_of(cfg)
    micro, accumulate = split_batch(cfg.loader.batch_size, cfg.loader.micro_batch_size, processes)
    data = data_options(cfg).serving(algorithm)
    wanted = wanted_of(algorithm)
    fit = partial(fitting, cfg, encoder=policy.encoder, wanted=wanted)
    train = examples(data, "train", algorithm.supervision, fit)
    check_spoiled(cfg, algorithm, train.media)
    return AlignmentData(
        train,
        examples(data, "val", algorithm.supervision, fit),
        policy.encoder,
        options(cfg, "loader"),
        micro,
        accumulate,
        cfg.seed,
        wanted,
    )


def wanted_of(algorithm: Algorithm) -> Any:
    """What batches must bring for an algorithm."""
    from aa_lightning.datamodule import Wanted

    return Wanted(
        algorithm.wants,
        algorithm.corruption if "corrupted" in algorithm.wants else None,
        tuple(algorithm.criteria) if "ratings" in algorithm.wants else (),
    )


def examples(data: Data, split: str, kind: Kind, fit: Fit = _whole) -> Sequence[Example]:
    """Decoded examples of a split, weakened to the kind that is asked for.

    Args:
        fit: leaves out what is too long, of each part of a mixture by itself, so that shares stay as they are.
    """
    if isinstance(data, DataOptions):
        from aa_lightning.data.examples import load_examples

        return fit(load_examples(data, split, kind))
    from aa_lightning.data.mixture import load_mixture

    return load_mixture(data, split, kind, fit)


def fitting(cfg: DictConfig, found: Sequence[Example], encoder: Any, wanted: Any = None) -> Sequence[Example]:
    """The examples that the limits of length leave, with all that batches bring of each (`wanted`)."""
    from aa_lightning.datamodule import Fitting

    return Fitting(found, encoder, wanted) if cfg.loader.on_long == "skip" else found


def processes_of(cfg: DictConfig) -> int:
    """How many processes train together."""
    from aa_lightning.jobs import processes

    given = os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_NTASKS")
    return int(given) if given and is_worker() else processes(OmegaConf.to_container(cfg.trainer, resolve=True))


def build_suite(cfg: DictConfig, algorithm: Algorithm, policy: Any, data: Data) -> Any:
    """The held-out measures of a run: on the rows as they are, so that all objectives are measured alike; steps only where
    they stand."""
    from aa_lightning.evaluation.suite import Suite

    wanted = options(cfg, "evaluation")
    if "steps" in algorithm.wants:
        data = data.serving(algorithm)
    blank = replace(data, corruption=CorruptionOptions(name="blank"))
    controls = {"blank": blank} if wanted.blank_control and data.corruption is None and data.shows_media else {}
    return Suite(
        sets=_sets(cfg, algorithm, policy, data),
        controls={name: _sets(cfg, algorithm, policy, changed) for name, changed in controls.items()},
        reference=algorithm.uses_reference,
        scores=algorithm.trains == "reward_model",
        max_new_tokens=wanted.max_new_tokens,
        groups=[] if isinstance(data, DataOptions) else list(data.parts),
    )


def _sets(cfg: DictConfig, algorithm: Algorithm, policy: Any, data: Data) -> Any:
    from aa_lightning.datamodule import EncodedExamples, PromptsOnly, eval_loader
    from aa_lightning.evaluation.suite import HeldOutSets

    wanted, loader = options(cfg, "evaluation"), options(cfg, "loader")
    paired = all(can_serve(kind, "preference") for kind in data.kinds.values())
    kind = "preference" if paired else "rating" if algorithm.trains == "reward_model" else "demonstration"
    held_out = examples(data, "val", kind)[: wanted.size]
    held_out = fitting(cfg, held_out, policy.encoder)
    sets = HeldOutSets(held_out)
    if paired:
        sets.pairs = eval_loader(EncodedExamples(held_out, policy.encoder, loader.kept_bytes), loader)
    elif kind == "rating":
        told = EncodedExamples(held_out, policy.encoder, loader.kept_bytes, wanted_of(algorithm))
        sets.ratings = eval_loader(told, loader)
    else:
        sets.demonstrations = eval_loader(EncodedExamples(held_out, policy.encoder, loader.kept_bytes), loader)
    if algorithm.trains == "policy" and wanted.generate:
        asked = PromptsOnly(held_out[: wanted.generate], policy.encoder, loader.kept_bytes)
        sets.prompts = eval_loader(asked, loader)
    return sets


# ---------------------------------------------------------------- the trainer's parts


def _loggers(cfg: DictConfig, folder: Path) -> list[Any]:
    from lightning.pytorch.loggers import TensorBoardLogger

    from aa_lightning.callbacks.metrics import MetricsCsv

    wanted = options(cfg, "logger")
    loggers: list[Any] = [MetricsCsv(folder / "metrics.csv")] if wanted.csv else []
    if wanted.tensorboard:
        loggers.append(TensorBoardLogger(folder, name="tensorboard", version=""))
    return [*loggers, *(_other_logger(settings, folder) for settings in wanted.others)]


def _other_logger(settings: dict[str, Any], folder: Path) -> Any:
    from hydra.errors import InstantiationException

    try:
        return instantiate(settings, save_dir=str(folder))
    except InstantiationException as error:
        if not isinstance(error.__cause__, ModuleNotFoundError):
            raise
        extra = settings["_target_"].rpartition(".")[2].removesuffix("Logger").lower()
        raise ValueError(
            f"{settings['_target_']} needs a package that is not installed ({error.__cause__}): "
            f"pip install 'aa_lightning[{extra}]'"
        ) from error


def _callbacks(cfg: DictConfig, suite: Any, folder: Path, algorithm: Algorithm) -> list[Any]:
    from aa_lightning.callbacks.alarms import Alarms
    from aa_lightning.callbacks.checkpoint import SteadyCheckpoint
    from aa_lightning.callbacks.heldout import HeldOut
    from aa_lightning.callbacks.progress import Progress
    from aa_lightning.callbacks.reference import MovingReference
    from aa_lightning.callbacks.rng import RandomStates
    from aa_lightning.callbacks.stopping import Stopping
    from aa_lightning.callbacks.throughput import Throughput

    kept, wanted = options(cfg, "checkpoint"), options(cfg, "evaluation")
    shown = [suite.sets.examples[i] for i in range(min(wanted.samples, len(suite.sets.examples)))]
    bar = [Progress()] if cfg.trainer.enable_progress_bar else []  # first, so that it closes before measuring
    moving = [] if algorithm.moving is None else [MovingReference(algorithm.moving)]
    return [
        *bar,
        *moving,
        Stopping(),
        RandomStates(),
        Throughput(),
        Alarms(),
        HeldOut(suite, wanted.before, shown, folder / "samples"),
        SteadyCheckpoint(folder / "checkpoints", kept.every_n_steps, kept.keep),
    ]


def _validation(cfg: DictConfig) -> dict[str, Any]:
    """When the validation loss is measured: never during training, or every so many steps."""
    if cfg.trainer.val_check_interval is None:
        return {"limit_val_batches": 0, "val_check_interval": None}
    return {"check_val_every_n_epoch": None}
