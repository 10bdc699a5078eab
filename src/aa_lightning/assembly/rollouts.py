"""Runs that learn from what their policy draws: their options for the rows at hand, and what cannot work together."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from aa_lightning.assembly.options import options_of, processes_of
from aa_lightning.configuration.schema import Rollouts
from aa_lightning.configuration.strategy import strategy_of
from aa_lightning.system.console import say
from aa_lightning.types import Algorithm

if TYPE_CHECKING:
    from aa_lightning.engines.engine import Engine
    from aa_lightning.models.families.offer import ModelOffer

Rules = list[tuple[bool, str]]  # what cannot work, and what is said then


def build_engine(options: Rollouts) -> Engine:
    """The engine that draws responses.

    Raises:
        ValueError: it is behind an endpoint with no address.
    """
    from aa_lightning.engines.engine import Own

    if options.engine == "continuous":
        from aa_lightning.engines.continuous import Continuous

        return Continuous()
    if options.engine == "vllm":
        from aa_lightning.engines.vllm import Vllm

        return Vllm()
    if options.engine == "openai":
        from aa_lightning.engines.openai import OpenAI

        return OpenAI(options.endpoint)
    return Own()


def rollouts_for(options: Rollouts, batch_size: int, rows: int) -> Rollouts:
    """The options with the prompts of a drawing: whole steps of them, and no more than there are rows.

    Args:
        batch_size: prompts of a step, which the processes can share.
        rows: that prompts come from, a step's at least.
    """
    wanted = options.prompts or batch_size
    steps = min(max(round(wanted / batch_size), 1), rows // batch_size)
    if options.prompts and steps * batch_size != wanted:
        why = "the data has no more" if wanted > rows else f"it is learned from in whole steps of {batch_size}"
        say(f"a drawing takes {steps * batch_size} prompts and not {wanted}: {why}")
    return replace(options, prompts=steps * batch_size)


def against_rollouts(cfg: DictConfig, name: str, algorithm: Algorithm, offer: ModelOffer, data: Any) -> Rules:
    """List what an algorithm cannot draw, or could not learn from.

    Args:
        name: of the algorithm.
        offer: of the model.
        data: its options.
    """
    wanted = cfg.rollout
    return [
        *(_against_rivals(cfg, name, offer) if algorithm.rivals else ()),
        (
            algorithm.needs_group and wanted.responses == 1,
            f"{name} compares the responses to a prompt with each other, and rollout.responses=1 leaves nothing to compare: "
            "type rollout.responses=8, or algo=reinforce_pp, which compares all responses of a drawing",
        ),
        (
            wanted.responses == 1 and wanted.refill > 0,
            "rollout.refill replaces groups whose responses all have the same reward, and with rollout.responses=1 every "
            "group is one: type rollout.refill=0",
        ),
        (
            algorithm.uses_reference and cfg.model.reference == "kept",
            f"{name} draws responses anew, and model.reference=kept keeps what a reference said of the rows' own: type "
            "model.reference=auto",
        ),
        (
            data.writes_media and not offer.draws,
            f"{name} learns from what the model draws, and models of family {offer.family} write images as codes, for which "
            "their library has no decoder: bring a torch module that is made from the model's VQ model and gives pixels "
            "for codes (docs/models.md), and type model.image_decoder=<package>.<module>.<Class>",
        ),
        (
            offer.likelihood == "elbo" and _eta(cfg) == 0,
            f"{name} learns from choices that were drawn, and model.sampling.eta=0 denoises without any: type "
            "model.sampling.eta=1",
        ),
        *_against_engine(cfg, offer),
    ]


def _against_engine(cfg: DictConfig, offer: ModelOffer) -> Rules:
    """List what an engine cannot draw, whatever the layers of the model are."""
    wanted = cfg.rollout
    return [
        (
            wanted.engine == "openai" and not (wanted.endpoint.url and wanted.endpoint.model),
            "rollout.engine=openai asks a model behind an endpoint, and none is named: type "
            "rollout.endpoint.url=http://<host>:<port>/v1 rollout.endpoint.model=<its name there>",
        ),
        (
            wanted.engine != "own" and bool(offer.writes),
            f"rollout.engine={wanted.engine} draws texts, and models of family {offer.family} write "
            f"{', '.join(offer.writes)} with a part that {wanted.engine} has not: type rollout.engine=own",
        ),
        (
            wanted.engine == "vllm" and processes_of(cfg) > 1,
            f"rollout.engine=vllm serves one process, and {processes_of(cfg)} train here: type rollout.engine=own, or "
            "strategy=single",
        ),
        (
            wanted.engine == "continuous"
            and strategy_of(OmegaConf.to_container(cfg.trainer, resolve=True)).shards_weights,
            "rollout.engine=continuous reads whole weights, and this strategy shards them: type rollout.engine=own, or "
            "strategy=ddp",
        ),
    ]


def _against_rivals(cfg: DictConfig, name: str, offer: ModelOffer) -> Rules:
    """List what cannot draw from the reference too; arguments as for `against_rollouts`."""
    strategy, responses = strategy_of(OmegaConf.to_container(cfg.trainer, resolve=True)), cfg.rollout.responses
    adapted = cfg.model.lora.rank > 0 and cfg.model.reference != "frozen"
    draws = f"{name} draws half of the responses from a distribution in which the reference has its share"
    return [
        (
            responses % 2 == 1,
            f"{draws}, and rollout.responses={responses} is odd: type rollout.responses={responses + 1}",
        ),
        (
            cfg.rollout.engine != "own",
            f"{draws}, and rollout.engine={cfg.rollout.engine} has no reference: type rollout.engine=own",
        ),
        (
            "audio" in offer.writes,
            f"{draws}, and models of family {offer.family} speak with a part of their own, whose sounds are not mixed: type "
            "algo=grpo, or a model that writes text",
        ),
        (
            strategy.shards_weights and not adapted,
            f"{draws}, and this strategy shards it: type strategy=ddp or strategy=deepspeed_zero2, or model.lora.rank=16 "
            "model.reference=adapter",
        ),
    ]


def check_engine(cfg: DictConfig, offer: ModelOffer) -> None:
    """Refuse an engine that cannot draw what the model writes, by what its configuration says of its layers.

    Args:
        offer: of the model.

    Raises:
        ValueError: why not, and what to type.
    """
    from aa_lightning.models.source import source_of

    options = options_of(cfg, "rollout")
    if options.engine == "own":
        return
    why = build_engine(options).why_not(offer, source_of(options_of(cfg, "model")).config)
    if why is not None:
        raise ValueError(f"rollout.engine={options.engine} {why}: type rollout.engine=own")


def _eta(cfg: DictConfig) -> float:
    return cfg.model.sampling.eta
