"""Reward models that runs have exported, loaded to judge and not to train."""

from __future__ import annotations

import torch
import transformers
import yaml

from aa_lightning.configuration.comments import LOADER
from aa_lightning.configuration.folders import conf_dir, file_of
from aa_lightning.configuration.schema import Model as ModelOptions
from aa_lightning.models.families.table import family_of
from aa_lightning.models.load import load_scorer
from aa_lightning.models.reward import classifier
from aa_lightning.models.reward.scorer import Scorer
from aa_lightning.models.state_dict import folder_of, reading
from aa_lightning.models.token.encoder import Limits
from aa_lightning.models.whole import check_folder


def load_saved(path: str, revision: str | None, dtype: str, device: torch.device) -> Scorer:
    """Load a reward model as it was saved: with as many scores, and as many words about a response, as it was trained for.

    Args:
        path: an export of a run, or a hub id.
        revision: of a hub id.
        dtype: of the weights.
        device: to put it on.

    Raises:
        ValueError: nothing is there, or no reward model.
    """
    path = folder_of(path, {})
    check_folder(path)
    with reading(path):
        config = transformers.AutoConfig.from_pretrained(path, revision=revision, trust_remote_code=False)
    head = classifier.saved_head(path, config, revision)
    if head is None:
        raise ValueError(
            f"{path} holds a {' or '.join(config.architectures or [config.model_type])} and no head of scores: name the run "
            "folder or the export of a reward model (algo=reward_model)"
        )
    options = ModelOptions(**_defaults(), family=family_of(config).name, path=path, revision=revision, dtype=dtype)
    limits = Limits(prompt=config.get_text_config().max_position_embeddings, overlong="truncate")
    scorer = load_scorer(options, limits, heads=len(head), speaks=classifier.saved_speaks(path))
    return scorer.eval().requires_grad_(False).to(device)


def _defaults() -> dict:
    """The options of every model, but those that are given here."""
    said = yaml.load(file_of("model", "default", [conf_dir()]).read_text(encoding="utf-8"), LOADER)
    return {key: value for key, value in said.items() if key not in ("family", "path", "revision", "dtype")}
