"""Every tiny family × every algorithm, found by listing conf/."""

from __future__ import annotations

import functools
from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from aa_lightning import build
from aa_lightning.compose import compose
from aa_lightning.datamodule import EncodedExamples
from aa_lightning.types import Batch

CONF = Path(__file__).parents[2] / "conf"
MODELS = sorted(path.stem for path in (CONF / "model").glob("tiny_*.yaml"))
ALGORITHMS = sorted(path.stem for path in (CONF / "algo").glob("*.yaml"))
TRAINED = ("dpo", "reward_model", "sft")  # whole runs; every algorithm is stepped through in test_algorithms.py
MODALITY = {
    "tiny_llava": "ti2t",
    "tiny_qwen2_5_vl": "ti2t",
    "tiny_sd": "t2i",
    "tiny_qwen2_audio": "ta2t",
    "tiny_audioflamingo3": "ta2t",
    "tiny_llava_next_video": "tv2t",
    "tiny_video_llava": "tv2t",
    "tiny_qwen2_5_omni": "any2t",
    "tiny_qwen3_omni": "any2t",
}
SHOWN = {"ti2t": ("image",), "ta2t": ("audio",), "tv2t": ("video",), "any2t": ("image", "audio", "video")}
EASY = {  # a world that a model learns in seconds: one thing, two kinds of it, one question
    "ta2t": ["data.train.kinds=[pitch]", "data.train.max_tones=1", "data.train.pitches=[low,high]"],
    "tv2t": ["data.train.kinds=[motion]", "data.train.max_shapes=1", "data.train.colours=[red,blue]"],
    "any2t": ["data.train.kinds=[picture]", "data.train.max_shapes=1", "data.train.colours=[red,blue]"],
    "ti2t": ["data.train.kinds=[colour]", "data.train.max_shapes=1", "data.train.colours=[red,blue]"],
    "t2t": ["data.train.kinds=[colour]", "data.train.max_shapes=1", "data.train.colours=[red,blue]"],
    "t2i": ["data.train.kinds=[colour]", "data.train.max_shapes=1", "data.train.colours=[red,blue]"],
}


def modality(model: str) -> str:
    return MODALITY.get(model, "t2t")


def config(model: str, algo: str, *overrides: str) -> DictConfig:
    """A run on the easy world, from random weights."""
    easy = [*EASY[modality(model)], "data.train.size=512", "data.val.size=64"]
    return compose([f"modality={modality(model)}", f"model={model}", f"algo={algo}", "init=null", *easy, *overrides])


def served(model: str, algo: str) -> bool:
    """Whether the build would allow the pair."""
    cfg = config(model, algo)
    try:
        build.check_compatible(cfg, instantiate(cfg.algo, _convert_="all"), build.data_options(cfg))
    except ValueError:
        return False
    return True


@functools.cache
def pairs() -> list[tuple[str, str]]:
    return [(model, algo) for model in MODELS for algo in TRAINED if served(model, algo)]


def make(model: str, algo: str, *overrides: str):
    """Algorithm, policy and configuration."""
    torch.manual_seed(0)
    cfg = config(model, algo, *overrides)
    algorithm = instantiate(cfg.algo, _convert_="all")
    return algorithm, build.build_policy(cfg, algorithm, None), cfg


def batch_of(cfg: DictConfig, policy, kind: str, rows: slice = slice(0, 3), split: str = "val") -> Batch:
    """A collated batch of held-out examples."""
    examples = EncodedExamples(build.examples(build.data_options(cfg), split, kind)[rows], policy.encoder)
    return examples.collate([examples[i] for i in range(len(examples))])


def loss_of(algorithm, policy, batch: Batch) -> torch.Tensor:
    loss, _ = algorithm(policy, batch)
    return loss
