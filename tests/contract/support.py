"""Every tiny family × every algorithm, found by listing conf/."""

from __future__ import annotations

import copy
import functools
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from aa_lightning.assembly.compatibility import check_compatible
from aa_lightning.assembly.data import data_options, read_examples
from aa_lightning.assembly.policy import build_policy
from aa_lightning.configuration.compose import compose
from aa_lightning.data.options import DataOptions
from aa_lightning.models.families.table import FAMILIES
from aa_lightning.training.datamodule import EncodedExamples
from aa_lightning.types import Algorithm, Batch, Example, Kind

CONF = Path(__file__).parents[2] / "conf"
MODELS = sorted(path.stem for path in (CONF / "model").glob("tiny_*.yaml"))
ALGORITHMS = sorted(path.stem for path in (CONF / "algo").glob("*.yaml"))
TRAINED = ("dpo", "reward_model", "sft")  # whole runs; every algorithm is stepped through in test_algorithms.py
CORE = ("tiny_qwen2", "tiny_llava", "tiny_qwen2_5_vl", "tiny_sd")  # of these, whole runs by default
MODALITY = {
    "tiny_sd": "t2i",
    "tiny_qwen2_5_omni_speech": "t2a",
    "tiny_qwen3_omni_speech": "t2a",
}  # of models that write media; what others read stands in the table of families
READS = {"image": "ti2t", "audio": "ta2t", "video": "tv2t"}
SHOWN = {
    "ti2ti": ("image",),
    "ti2t": ("image",),
    "ta2t": ("audio",),
    "tv2t": ("video",),
    "any2t": ("image", "audio", "video"),
}
EASY = {  # a world that a model learns in seconds: one thing, two kinds of it, one question
    "ta2t": ["data.train.kinds=[turn]", "data.train.max_tones=2", "data.train.pitches=[low,high]"],
    "tv2t": ["data.train.kinds=[motion]", "data.train.max_shapes=1", "data.train.colours=[red,blue]"],
    "any2t": ["data.train.kinds=[picture]", "data.train.max_shapes=1", "data.train.colours=[red,blue]"],
    "ti2t": ["data.train.kinds=[colour]", "data.train.max_shapes=1", "data.train.colours=[red,blue]"],
    "t2t": ["data.train.kinds=[colour]", "data.train.max_shapes=1", "data.train.colours=[red,blue]"],
    "t2i": ["data.train.kinds=[colour]", "data.train.max_shapes=1", "data.train.colours=[red,blue]"],
    "ti2ti": ["data.train.kinds=[colour]", "data.train.colours=[red,blue]"],
    "t2a": ["data.train.kinds=[pitch]", "data.train.max_tones=3"],
}


def modality(model: str) -> str:
    """The modality of the data that a model is tested on."""
    if model in MODALITY:
        return MODALITY[model]
    family = FAMILIES[model.removeprefix("tiny_")]
    media = family.media
    if "image" in family.writes:
        return "ti2ti"
    if {"image", "audio"} <= set(media):
        return "any2t"
    return READS[media[0]] if media else "t2t"


def config(model: str, algo: str, *overrides: str) -> DictConfig:
    """A run on the easy world, from random weights."""
    easy = [*EASY[modality(model)], "data.train.size=512", "data.val.size=64"]
    return composed(f"modality={modality(model)}", f"model={model}", f"algo={algo}", "init=null", *easy, *overrides)


def composed(*overrides: str, config_name: str = "train") -> DictConfig:
    """What a command line composes to: once for all tests that type the same, and a copy of its own for each."""
    return pickle.loads(_composed(overrides, config_name))


@functools.cache
def _composed(overrides: tuple[str, ...], config_name: str) -> bytes:
    return pickle.dumps(compose(overrides, config_name))  # read back in a fifth of the time that a copy takes


def why_refused(model: str, settings: DictConfig, algorithm: Algorithm) -> str | None:
    """What the build says against an algorithm on a model, before anything loads; None: they go together."""
    cfg = config(model, "dpo")
    cfg.algo = settings
    try:
        check_compatible(cfg, algorithm, data_options(cfg).serving(algorithm))
    except ValueError as refused:
        return str(refused)
    return None


PAIRS = [(model, algo) for model in MODELS for algo in TRAINED if model not in MODALITY or algo != "reward_model"]
MOSTLY_SLOW = [  # as test parameters: whole runs of models outside of the core are slow
    pytest.param(
        *pair, marks=() if pair[0] in CORE and pair != ("tiny_sd", "dpo") else pytest.mark.slow, id="-".join(pair)
    )
    for pair in PAIRS
]


def make(model: str, algo: str, *overrides: str):
    """Algorithm, policy and configuration, of which a test may change what it likes."""
    torch.manual_seed(0)
    cfg = config(model, algo, *(item for item in overrides if item.startswith("data.")))  # which others follow
    change(cfg, *(item for item in overrides if not item.startswith("data.")))
    algorithm = instantiate(cfg.algo, _convert_="all")
    return algorithm, copy.deepcopy(_built(algorithm, cfg)), cfg


def change(cfg: DictConfig, *overrides: str) -> None:
    """Set values as if they had been typed, of keys that no other follows; composing takes a hundred times as long."""
    for name, value in [item.split("=", 1) for item in overrides]:
        assert OmegaConf.select(cfg, name, default=cfg) is not cfg, f"there is no key {name}"
        OmegaConf.update(cfg, name, yaml.safe_load(value))


_BUILT: dict[str, Any] = {}  # policies and reward models as they are built, by what they are built from


def _built(algorithm: Algorithm, cfg: DictConfig):
    asked = cfg.algo if algorithm.trains == "reward_model" else (algorithm.uses_reference, algorithm.noise)
    key = repr([cfg.model, cfg.loader, asked])
    if key not in _BUILT:
        _BUILT[key] = build_policy(cfg, algorithm, None)
    return _BUILT[key]


def borrow(model: str, *overrides: str):
    """What `make` gives for DPO, ready to be read and shared by tests that leave its weights as they are."""
    algorithm, policy, cfg = _lent(model, *overrides)
    policy.eval().zero_grad(set_to_none=True)
    policy.encoder.companions = None
    if policy.likelihood == "exact":
        policy.network.prefix_sharing = cfg.model.prefix_sharing
    return algorithm, policy, cfg


@functools.cache
def _lent(model: str, *overrides: str):
    return make(model, "dpo", "algo.nll=0", *overrides)


def batch_of(cfg: DictConfig, policy, kind: str, rows: slice = slice(0, 3), split: str = "val") -> Batch:
    """A collated batch of held-out examples."""
    examples = EncodedExamples(read_once(data_options(cfg), split, kind)[rows], policy.encoder)
    return examples.collate([examples[i] for i in range(len(examples))])


_READ: dict[str, Sequence[Example]] = {}


def read_once(data: DataOptions, split: str, kind: Kind) -> Sequence[Example]:
    """Examples of a split, which are read once for all tests."""
    key = repr([data, split, kind])
    if key not in _READ:
        _READ[key] = read_examples(data, split, kind)
    return _READ[key]


def loss_of(algorithm, policy, batch: Batch) -> torch.Tensor:
    loss, _ = algorithm(policy, batch)
    return loss


@torch.no_grad()
def read_jointly(model, family, batch: Batch, k: int) -> torch.Tensor:
    """Log-probabilities of response k of a batch of one prompt: [prompt | response] in one row through the model's own
    head, log softmax at t−1 of token t."""
    size = int(batch.response["mask"][0, k].sum())
    tokens = batch.response["input_ids"][0, k, :size]
    inputs = {**batch.prompt, "input_ids": torch.cat([batch.prompt["input_ids"][0], tokens])[None]}
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    for key in family.per_token.keys() & batch.prompt.keys():
        last = batch.prompt[key][:, -1:]  # a text token, as those of the response
        inputs[key] = torch.cat([batch.prompt[key], *[last] * size], 1)
    if family.name == "chameleon":
        model.model.vocabulary_mapping.image_tokens = []  # whose logits its own forward hides
    if family.name == "janus":
        return _read_by_two_heads(model, inputs, tokens)
    logits = model(**inputs).logits[0, -size - 1 : -1]
    return logits.log_softmax(-1).gather(-1, tokens[:, None])[:, 0]


def _read_by_two_heads(model, inputs: dict[str, torch.Tensor], tokens: torch.Tensor) -> torch.Tensor:
    """Janus, token by token with the library's own parts: words by its output embedding, codes by its generation head."""
    rows, words = [], model.config.text_config.vocab_size
    seen = iter(model.model.get_image_features(inputs["pixel_values"]).pooler_output.flatten(0, 1))
    for token in inputs["input_ids"][0]:
        if token >= words:
            rows.append(model.prepare_embeddings_for_image_generation(token[None] - words)[0])
        elif token == model.config.image_token_id:
            rows.append(next(seen))
        else:
            rows.append(model.get_input_embeddings()(token))
    hidden = model.model.language_model(inputs_embeds=torch.stack(rows)[None]).last_hidden_state[
        0, -len(tokens) - 1 : -1
    ]
    found = []
    for state, token in zip(hidden, tokens, strict=True):
        head, index = (model.model.generation_head, token - words) if token >= words else (model.lm_head, token)
        found.append(head(state).log_softmax(-1)[index])
    return torch.stack(found)
