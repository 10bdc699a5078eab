"""Refusal of algorithms, models, data sets and strategies that cannot work together.

All of it is decided before any weights load.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from aa_lightning.assembly.rewards import against_rewards
from aa_lightning.assembly.rollouts import against_rollouts, check_engine
from aa_lightning.configuration.nested import dotted_keys
from aa_lightning.configuration.strategy import strategy_of
from aa_lightning.data.corruption.options import SPOILS, CorruptionOptions
from aa_lightning.data.kinds import can_serve
from aa_lightning.data.multi_row import source_kind_for
from aa_lightning.data.options import DataOptions
from aa_lightning.data.sources.open import check_files
from aa_lightning.types import Algorithm

if TYPE_CHECKING:
    from aa_lightning.data.mixture import MixtureOptions
    from aa_lightning.models.families.offer import ModelOffer

    Data = DataOptions | MixtureOptions

_LIKELIHOODS = {"exact": "an exact one", "elbo": "only a bound (a denoising error)"}


def check_compatible(cfg: DictConfig, algorithm: Algorithm, data: Data) -> None:
    """Refuse an algorithm that the model or the data cannot serve.

    Raises:
        ValueError: which parts, why, and what to type.
        FileNotFoundError: a data file is not there.
    """
    from aa_lightning.models.families.offer import offer_of

    name, offer = cfg.algo_name or type(algorithm).__name__, offer_of(cfg.model)
    _refuse(_against_model(cfg, name, algorithm, offer))
    for whose, kind in data.kinds.items():
        if not can_serve(kind, algorithm.supervision):
            raise ValueError(
                f"{name} learns from {algorithm.supervision} rows, and {whose} has {kind} rows only: type a data= that "
                f"has {algorithm.supervision} rows, or an algo= that needs {kind} rows, such as algo=sft"
            )
    for multi_row in data.made_by:
        source_kind_for(multi_row, algorithm.supervision)
    _check_offers(name, algorithm, data)
    if data.shown is not None:  # else `check_spoiled` decides, once rows are read
        check_spoiled(cfg, algorithm, data.shown)
        _check_fits(["data.corruption"], data.corruption, data.shown)
    _refuse(_against_options(cfg, name, algorithm, offer, data.writes_media))
    _refuse(against_rewards(cfg, name, algorithm, data))
    if algorithm.draws_responses:
        _refuse(against_rollouts(cfg, name, algorithm, offer, data))
        check_engine(cfg, offer)
    elif cfg.model.reference == "kept" and algorithm.uses_reference:
        _refuse(_against_keeping(name, algorithm, offer))
    for origin in data.origins:
        check_files(origin)


Rules = list[tuple[bool, str]]  # what cannot work, and what is said then


def _refuse(rules: Rules) -> None:
    for applies, message in rules:
        if applies:
            raise ValueError(message)


def _against_model(cfg: DictConfig, name: str, algorithm: Algorithm, offer: ModelOffer) -> Rules:
    """List what a model cannot do for an algorithm."""
    scored = algorithm.trains == "reward_model"
    return [
        (
            scored and offer.likelihood == "elbo",
            f"{name} reads hidden states of a token model, and model.family={offer.family} is a diffusion model: "
            "type a token model, for example model=tiny_llava",
        ),
        (
            scored and not offer.scores,
            f"{name} scores what a token model has read, and model.family={offer.family} reads its answers as text "
            "and speaks them: type a model that hears or reads them, for example model=tiny_qwen2_5_omni",
        ),
        (
            offer.likelihood not in algorithm.accepts,
            f"{name} with these options is defined on {' or '.join(algorithm.accepts)} log-likelihoods, and "
            f"model.family={offer.family} has {_LIKELIHOODS[offer.likelihood]}: "
            "type another model= or algo=, for example algo=dpo",
        ),
        (
            algorithm.noise > 0 and (scored or offer.likelihood == "elbo"),
            f"{name} asks for noise on embeddings of tokens ({algorithm.noise:g}), which only policies of token models add: "
            "type an algo= without it",
        ),
    ]


def _against_options(cfg: DictConfig, name: str, algorithm: Algorithm, offer: ModelOffer, media: bool) -> Rules:
    """List what cannot work with these options of model, strategy and evaluation.

    A reference can follow only where it is a copy of its own and whole on every process; pictures are drawn only where codes
    can be made pictures.

    Args:
        media: whether responses of the data hold media.
    """
    strategy = strategy_of(OmegaConf.to_container(cfg.trainer, resolve=True))
    drawn = cfg.evaluation.num_generations
    return [
        (
            "media" in algorithm.wants and not offer.has_media_gradients,
            f"{name} with these options moves images along a gradient, and model.family={offer.family} reads them as "
            "tokens that a frozen model chose, which have none: type a model that sees pixels, for example "
            "model=tiny_llava, or another algo=",
        ),
        (
            algorithm.ref_sync is not None and cfg.model.lora.rank > 0 and cfg.model.reference != "frozen",
            "algo.ref_sync moves the reference, and with model.lora.rank > 0 the reference is the model without its "
            "adapter: type model.reference=frozen, or algo.ref_sync=null",
        ),
        (
            algorithm.ref_sync is not None
            and algorithm.ref_sync.every_n_steps is None
            and not algorithm.draws_responses,
            f"algo.ref_sync.every_n_steps=null moves the reference before each drawing, and {name} draws nothing: type "
            "algo.ref_sync.every_n_steps=512, or algo=online_dpo",
        ),
        (
            algorithm.ref_sync is not None and strategy.shards_weights,
            "algo.ref_sync needs a whole reference on every process, and this strategy shards it: type strategy=ddp or "
            "strategy=deepspeed_zero2, or algo.ref_sync=null",
        ),
        (
            media and algorithm.trains == "policy" and not offer.draws and drawn > 0,
            f"models of family {offer.family} write images as codes, their library has no decoder for them, and "
            f"evaluation.num_generations={drawn} images shall be generated: bring a torch module "
            "that is made from the model's VQ model and gives pixels for codes (docs/models.md), and type "
            "model.image_decoder=<package>.<module>.<Class>; or type evaluation.num_generations=0",
        ),
    ]


def _against_keeping(name: str, algorithm: Algorithm, offer: ModelOffer) -> Rules:
    """List what a reference that is read once, before training, cannot say."""
    keeps = "model.reference=kept reads the reference once, before the first step"
    return [
        (
            offer.likelihood == "elbo",
            f"{keeps}, and model.family={offer.family} has only a bound, whose noise is drawn anew each time: type "
            "model.reference=auto",
        ),
        (
            algorithm.ref_sync is not None,
            f"{keeps}, and algo.ref_sync moves it: type model.reference=frozen, or algo.ref_sync=null",
        ),
        (
            algorithm.of_reference is None,
            f"{keeps}, and keeps log-probabilities of the rows' responses; {name} with these options reads more of it (whole "
            "distributions, or what the policy makes of a row in training): type model.reference=auto, or another algo=",
        ),
    ]


def check_spoiled(cfg: DictConfig, algorithm: Algorithm, shown: Collection[str]) -> None:
    """Refuse an algorithm that compares prompts with spoiled ones where these would be the same.

    Args:
        shown: the media in prompts.

    Raises:
        ValueError: prompts have no media, or none that the corruption acts on.
    """
    if {"corrupted", "media"} & set(algorithm.wants) and not shown:
        raise ValueError(
            f"{cfg.algo_name or type(algorithm).__name__} with these options corrupts the media of prompts, and prompts of "
            "this data set have none: type modality=ti2t, or another algo="
        )
    if "corrupted" in algorithm.wants:
        named = dotted_keys({"algo": OmegaConf.to_container(cfg.algo, resolve=True)})
        keys = [key for key in named if key.endswith(".corruption") and OmegaConf.select(cfg, key) is not None]
        _check_fits(keys, algorithm.corruption, shown)


def check_reads(cfg: DictConfig, shown: Collection[str]) -> None:
    """Refuse a model that cannot read the media of prompts.

    Args:
        shown: the media in prompts.

    Raises:
        ValueError: which ones, and what to type.
    """
    from aa_lightning.models.families.offer import offer_of

    reads = set(offer_of(cfg.model).reads)
    if set(shown) - reads:
        unread = " and ".join(sorted(set(shown) - reads))
        raise ValueError(
            f"prompts of the data show {unread}, and models of family {cfg.model.family} read "
            f"{', '.join(['text', *sorted(reads)])}: type a model= that reads {unread}, such as "
            f"model={_READERS[min(set(shown) - reads)]}, or other data="
        )


_READERS = {"image": "tiny_llava", "audio": "tiny_qwen2_audio", "video": "tiny_qwen2_vl"}


def _check_fits(keys: list[str], corruption: CorruptionOptions | None, shown: Collection[str]) -> None:
    """Refuse a corruption that leaves all media of prompts as they are.

    Args:
        keys: where it was given.
    """
    if corruption is None or set(corruption.kinds) & set(shown):
        return
    fitting = [name for name, kinds in SPOILS.items() if set(kinds) & set(shown)]
    instead = f"{{name:{'|'.join(fitting)},media:[{','.join(sorted(shown))}]}}" if fitting else "null"
    typed = " ".join(f"'++{key}={instead}'" for key in keys)
    raise ValueError(
        f"{keys[0]}={corruption.name} acts on {' and '.join(corruption.kinds)}, and the prompts of this data set show "
        f"{' and '.join(sorted(shown)) or 'no media'}, so that nothing would be spoiled: type {typed}, or a data= with "
        f"{' or '.join(corruption.kinds)}"
    )


_NEEDS = {  # what an algorithm may want of rows: in words, and how data says it
    "margin": ("by how much each chosen response is better", "scores, such as data=ultrafeedback, or name their columns in "
    "data.template.margin"),
    "safe": ("whether each response is harmless", "such labels, such as data=shapes_ti2t or data=pku_safe_rlhf, or "
    "name their columns in data.template.safe"),
    "ratings": ("the scores of each criterion", "ratings, such as data=shapes_ti2t, or name their columns in "
    "data.template.ratings, with data.template.kind=feedback"),
    "critique": ("what is said about each response", "critiques, such as data=shapes_ti2t, or name their columns in "
    "data.template.feedback"),
    "gold": ("a refined response", "refinements, such as data=shapes_ti2t, or name their columns in "
    "data.template.feedback.refinement, with data.template.kind=feedback"),
    "steps": ("which steps of a response are right", "such labels, such as data=shapes_ti2t or data=stepwise, or "
    "algo=orm, which learns from whole responses"),
}  # fmt: skip


def _check_offers(name: str, algorithm: Algorithm, data: Data) -> None:
    """Refuse data that lacks what an algorithm wants of its rows, or that has ties where they mean nothing."""
    wanted = [*algorithm.wants, *(["critique"] if algorithm.supervision == "critique" else [])]
    for want in wanted:
        if want in _NEEDS and want not in data.offers:
            needed, advice = _NEEDS[want]
            raise ValueError(
                f"{name} with these options needs {needed}, and the data set does not say: type a data= with {advice}"
            )
    if "tie" in data.offers and "tie" not in algorithm.wants and algorithm.supervision == "preference":
        raise ValueError(
            f"the data set keeps ties, and {name} takes the first response for the better one: type "
            "data.template.preferred.tie=drop, or algo=reward_model_ties"
        )
