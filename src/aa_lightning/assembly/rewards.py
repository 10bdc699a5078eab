"""The rewards of a configuration."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from aa_lightning.configuration.folders import PACKAGE
from aa_lightning.configuration.rewards import SETTINGS, TAKES, how_called, named_reward
from aa_lightning.configuration.schema import RewardSettings
from aa_lightning.rewards.models import OfModel
from aa_lightning.runs.layout import RunFolder

if TYPE_CHECKING:
    from aa_lightning.rewards.reward import Drawn, Rewards
    from aa_lightning.types import Algorithm

_RULES = "aa_lightning.rewards"
_COMPARE = {  # responses with answers of rows
    f"{_RULES}.{name}" for name in ("rules.Answer", "texts.Cosine", "boxes.Iou", "boxes.Detection", "nearness.Near")
}


def build_rewards(cfg: DictConfig) -> Rewards:
    """Build the rewards that `reward` names.

    Args:
        cfg: the composed and checked configuration.

    Raises:
        ValueError: one that cannot be made.
    """
    from aa_lightning.rewards.reward import NamedReward, Rewards

    said = OmegaConf.to_container(cfg.reward, resolve=True)
    return Rewards(
        NamedReward(
            name,
            _called(f"reward.{name}", keys),
            RewardSettings(**{key: keys[key] for key in SETTINGS}),
        )
        for name, keys in said.items()
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
            not algorithm.draws_responses and list(rewards) not in ([], ["answer"]),
            f"{name} learns from rows as they are, and reads no rewards ({', '.join(rewards)}): type algo=grpo, or leave out "
            "reward",
        ),
    ]


def _called(path: str, keys: dict[str, Any]) -> Callable[[Drawn], Any]:
    """A reward as a function of what was drawn."""
    target = keys["_target_"]
    named = named_reward(path, target)
    own = {key: value for key, value in keys.items() if key not in (*SETTINGS, "_target_")}
    if target.startswith(f"{PACKAGE.name}.") and "path" in own:
        own["path"] = _export_of(own["path"])
    how = how_called(path, target, named)
    judge, given = (_made(path, named, own), {}) if inspect.isclass(named) else (named, own)
    last = TAKES[how][2]
    wants = inspect.signature(judge).parameters.get(last)
    optional = wants is not None and wants.default is None

    def length(drawn: Drawn, p: int, k: int) -> dict[str, Any]:
        if wants is None or (optional and drawn.lengths is None):
            return {}
        return {last: int(drawn.known_lengths[p, k])}

    def one_by_one(drawn: Drawn) -> Any:
        return [
            [
                judge(prompt=prompt, response=response, **length(drawn, p, k), **given)
                for k, response in enumerate(responses)
            ]
            for p, (prompt, responses) in enumerate(zip(drawn.prompts, drawn.responses, strict=True))
        ]

    def together(drawn: Drawn) -> Any:
        more = {} if wants is None else {last: drawn.lengths if optional else drawn.known_lengths}
        return judge(prompts=drawn.prompts, responses=drawn.responses, **more, **given)

    return one_by_one if how == "each" else together


def _made(path: str, named: Callable[..., Any], keys: dict[str, Any]) -> Any:
    """A reward of its class.

    Raises:
        ValueError: it cannot be made, with the name of the reward.
    """
    try:
        judge = named(**keys)
        if isinstance(judge, OfModel):
            judge.load()
        return judge
    except Exception as error:
        said = str(error).replace("model.path=", f"{path}.path=") or type(error).__name__
        raise ValueError(f"{path} cannot be made: {said}") from error


def _export_of(path: str) -> str:
    """The export of a run folder; any other path as it is."""
    export = RunFolder(Path(path).expanduser()).export
    return str(export.absolute()) if export.is_dir() else path
