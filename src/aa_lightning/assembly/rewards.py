"""The rewards of a configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from aa_lightning.configuration.folders import PACKAGE
from aa_lightning.configuration.rewards import SETTINGS
from aa_lightning.configuration.schema import RewardSettings
from aa_lightning.configuration.strategy import strategy_of
from aa_lightning.rewards.apart import judging_apart
from aa_lightning.rewards.calling import judging
from aa_lightning.runs.layout import RunFolder

if TYPE_CHECKING:
    from aa_lightning.rewards.drawn import Drawn
    from aa_lightning.rewards.reward import Rewards
    from aa_lightning.types import Algorithm

_RULES = "aa_lightning.rewards"
_COMPARE = {  # responses with answers of rows
    f"{_RULES}.{name}" for name in ("rules.Answer", "texts.Cosine", "boxes.Iou", "boxes.Detection", "nearness.Near")
}
_DEFAULTS = ([], ["answer"], ["answer", "near"])  # of modalities
_OWN = f"{_RULES}.grading.SelfJudge"  # asks the policy that learns
_ASK = {f"{_RULES}.remote.Server", f"{_RULES}.remote.Judge"}  # others, and wait for what they say


def build_rewards(cfg: DictConfig) -> Rewards:
    """Build the rewards that `reward` names.

    Args:
        cfg: the composed and checked configuration.

    Raises:
        ValueError: one that cannot be made.
    """
    from aa_lightning.rewards.reward import NamedReward, Rewards

    said = OmegaConf.to_container(cfg.reward, resolve=True)
    settings = {name: RewardSettings(**{key: keys[key] for key in SETTINGS}) for name, keys in said.items()}
    return Rewards(
        NamedReward(name, _judging(name, said[name], one), one, one.apart or said[name]["_target_"] in _ASK)
        for name, one in settings.items()
    )


def against_rewards(cfg: DictConfig, name: str, algorithm: Algorithm, data: Any) -> list[tuple[bool, str]]:
    """List what rewards cannot do for an algorithm, or with these rows: what applies, and what is said then.

    Args:
        name: of the algorithm.
        data: its options.
    """
    rewards = {} if cfg.get("reward") is None else {key: one["_target_"] for key, one in cfg.reward.items()}
    compared = [key for key, target in rewards.items() if target in _COMPARE]
    return [
        (
            algorithm.draws_responses and not rewards,
            f"{name} learns from rewards, and there is none: type reward=answer, 'reward=[answer,format]', or "
            "+reward.<name>=<module>.<function>; --help reward lists ours",
        ),
        (
            algorithm.draws_responses and bool(compared) and not data.checks,
            f"reward={' and '.join(compared)} compares responses with the answers of the data, which names none: name their "
            "column in data.template.answer, type data= with answers, or another reward=",
        ),
        (
            _OWN in rewards.values() and strategy_of(OmegaConf.to_container(cfg.trainer, resolve=True)).shards_weights,
            "a policy that grades its own responses is asked with whole weights, and this strategy shards them: type "
            "strategy=ddp, or reward=judge",
        ),
        (
            not algorithm.draws_responses and list(rewards) not in _DEFAULTS,
            f"{name} learns from rows as they are, and reads no rewards ({', '.join(rewards)}): type algo=grpo, or leave out "
            "reward",
        ),
    ]


def _judging(name: str, keys: dict[str, Any], settings: RewardSettings) -> Callable[[Drawn], Any]:
    """A reward as a function of what was drawn, in this process or in one of its own."""
    own = {key: value for key, value in keys.items() if key not in SETTINGS}
    if own["_target_"].startswith(f"{PACKAGE.name}.") and "path" in own:
        own["path"] = _export_of(own["path"])
    make = judging_apart if settings.apart else judging
    return make(f"reward.{name}", own, settings.seconds, at_once=settings.on_fault == "error")


def _export_of(path: str) -> str:
    """The export of a run folder; any other path as it is."""
    export = RunFolder(Path(path).expanduser()).export
    return str(export.absolute()) if export.is_dir() else path
