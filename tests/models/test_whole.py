"""A saved model that is not whole is refused by name, however one comes to it."""

from __future__ import annotations

import json
import shutil
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

from aa_lightning.assembly.options import options_of
from aa_lightning.assembly.policy import build_algorithm, build_chat_policy, build_encoder, build_policy
from aa_lightning.assembly.stages import starting_point
from aa_lightning.configuration.compose import compose
from aa_lightning.models.diffusion.policy import load_diffusion
from aa_lightning.models.tiny.cache import tiny_folder
from aa_lightning.models.whole import check_folder, seal
from tests.contract.support import composed

WEIGHT = "model.layers.0.mlp.up_proj.weight"


@pytest.fixture
def export(tmp_path):
    """A run's export, sealed as a run does."""
    folder = shutil.copytree(tiny_folder("llama"), tmp_path / "run" / "export")
    seal(folder)
    return folder


def weights(folder, change):
    found = load_file(folder / "model.safetensors")
    change(found)
    save_file(found, folder / "model.safetensors", metadata={"format": "pt"})


def other_tokenizer(folder):
    for file in tiny_folder("qwen2").glob("tokenizer*.json"):
        shutil.copy(file, folder / file.name)


def more_words(folder):
    (folder / "tokenizer.sha256").unlink()
    file = folder / "tokenizer.json"
    said = json.loads(file.read_text())
    words = said["model"]["vocab"]
    said["model"]["vocab"] = {**words, "beyond": max(words.values()) + 100_000}
    file.write_text(json.dumps(said))


def index(folder):
    names = load_file(folder / "model.safetensors")
    told = {"metadata": {}, "weight_map": dict.fromkeys(names, "model-00002-of-00002.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(told))


def cut(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


SPOILED = {
    "a tensor less": (lambda folder: weights(folder, lambda w: w.pop(WEIGHT)), f"missing .* such as {WEIGHT}"),
    "NaN": (lambda folder: weights(folder, lambda w: w[WEIGHT].fill_(torch.nan)), f"{WEIGHT} holds NaN or infinity"),
    "infinity": (lambda folder: weights(folder, lambda w: w[WEIGHT][0].fill_(torch.inf)), "holds NaN or infinity"),
    "no configuration": (lambda folder: (folder / "config.json").unlink(), "there is none of config.json"),
    "a broken configuration": (lambda folder: (folder / "config.json").write_text("{"), "config.json cannot be read"),
    "a shard less": (index, "model-00002-of-00002.safetensors.* is not there"),
    "cut weights": (cut, "model.safetensors is cut or damaged"),
    "another tokenizer": (other_tokenizer, "its tokenizer is another model's: it differs from the one for which"),
    "too many words": (more_words, "its tokenizer is another model's: 'beyond' lies beyond"),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "its tokenizer is another model's"),
}


def opened(way, export):
    """Open a model as training, a start and generation do."""
    common = ["modality=t2t", "model=tiny_llama"]
    if way == "run":
        cfg = composed(*common, config_name="generate")
        cfg.run = str(export.parent)
        return build_chat_policy(cfg)
    cfg = composed(*common, "init=null")
    if way == "model.path":
        cfg.model.path = str(export)
    else:
        cfg.init = str(export.parent)
    build_encoder(cfg, starting_point(cfg))
    return build_policy(cfg, build_algorithm(cfg), starting_point(cfg))


@pytest.mark.parametrize("way", ["model.path", "init", "run"])
@pytest.mark.parametrize("kind", SPOILED)
def test_what_is_not_whole_is_refused_by_name_within_a_second(export, kind, way):
    spoil, said = SPOILED[kind]
    spoil(export)

    def spent():
        began = time.process_time()
        with pytest.raises(ValueError, match=f"(?s){export}.*{said}"):
            opened(way, export)
        return time.process_time() - began

    assert any(spent() < 1.0 for _ in range(2))  # the first one may import what later ones have


@pytest.mark.parametrize("way", ["model.path", "init", "run"])
def test_a_whole_one_is_opened(export, way):
    assert opened(way, export) is not None


def test_a_model_that_looks_for_pictures_at_another_token_is_refused(tmp_path):
    folder = shutil.copytree(tiny_folder("llava"), tmp_path / "model")
    file = folder / "config.json"
    said = json.loads(file.read_text())
    (key,) = [key for key in said if key.startswith("image_token_")]
    file.write_text(json.dumps({**said, key: said[key] - 1}))
    with pytest.raises(ValueError, match="the model looks for media at token"):
        build_encoder(compose(["model=tiny_llava", "modality=ti2t", "init=null", f"model.path={folder}"]))


def test_a_pipeline_whose_parts_come_from_elsewhere_is_refused(tmp_path):
    (tmp_path / "model_index.json").write_text(json.dumps({"unet": ["my_module", "Thing"]}))
    with pytest.raises(ValueError, match="a part of 'my_module', which would be imported and run"):
        check_folder(str(tmp_path))


@pytest.mark.parametrize("part", ["unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"])
def test_a_pipeline_with_nan_is_refused(tmp_path, part):
    cfg = compose(["model=tiny_sd", "modality=t2i", "init=null"])
    folder = shutil.copytree(tiny_folder(cfg.model.path.removeprefix("tiny:")), tmp_path / "model")
    found = load_file(folder / part)
    next(iter(found.values())).fill_(torch.nan)
    save_file(found, folder / part, metadata={"format": "pt"})
    cfg.model.path = str(folder)
    with pytest.raises(ValueError, match="holds NaN or infinity"):
        load_diffusion(options_of(cfg, "model"), False)
