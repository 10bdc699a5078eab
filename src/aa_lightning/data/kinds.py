"""Kinds of examples, poorest to richest, and how a richer one serves an algorithm that needs less."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from aa_lightning.types import (
    Critique,
    Demonstration,
    Example,
    Feedback,
    Kind,
    Preference,
    Prompt,
    Ranking,
    Rating,
    Response,
    text,
)

_KINDS: dict[str, tuple[type, int]] = {  # and how rich each is; equally rich ones serve each other
    "prompt": (Prompt, 0),
    "demonstration": (Demonstration, 1),
    "rating": (Rating, 2),
    "preference": (Preference, 3),
    "ranking": (Ranking, 3),
    "feedback": (Feedback, 4),
    "critique": (Critique, 4),
}
REQUEST = "Is this answer right? Say what is wrong with it."  # what asks for a critique


def kind_of(example: Example) -> Kind:
    """The kind's name of an example."""
    return next(name for name, (cls, _) in _KINDS.items() if type(example) is cls)


def can_serve(kind: Kind, wanted: Kind) -> bool:
    """Tell whether data of `kind` weakens to `wanted`: feedback > preference = ranking > rating > demonstration > prompt, and
    feedback has critiques."""
    return _KINDS[kind][1] >= _KINDS[wanted][1]


def weaken(example: Example, wanted: Kind) -> list[Example]:
    """Turn an example into the poorer kind that an algorithm asks for.

    A ranking becomes the preference of its best over its worst response, where these differ; a preference becomes a
    ranking of two, two ratings (chosen desirable, rejected not), or one demonstration of the chosen response; a rating
    becomes a demonstration only if it is desirable; feedback becomes the critiques that it has.

    Raises:
        ValueError: the example is poorer than what is asked for.
    """
    if not can_serve(kind_of(example), wanted):
        raise ValueError(
            f"row {example.id} is a {kind_of(example)} and cannot serve as a {wanted}: "
            f"choose a data set that has {wanted} rows, or an algorithm that needs less"
        )
    if kind_of(example) == wanted:
        return [example]
    base = {shared.name: vars(example)[shared.name] for shared in fields(Prompt)}
    if wanted == "prompt":
        return [Prompt(**base)]
    if isinstance(example, Rating):
        return [Demonstration(**base, response=example.response)] if example.desirable else []
    if isinstance(example, Ranking):
        return _of_ranking(example, wanted, base)
    if isinstance(example, Preference):
        return _of_preference(example, wanted, base)
    return [Demonstration(**base, response=example.responses[0])]


def _of_ranking(example: Ranking, wanted: Kind, base: dict[str, Any]) -> list[Example]:
    (best, *_, worst), gap = example.ranked, example.scores[0] - example.scores[-1]
    if wanted == "demonstration":
        return [Demonstration(**base, response=best)]
    return weaken(Preference(**base, chosen=best, rejected=worst, margin=gap), wanted) if gap > 0 else []


def _of_preference(example: Preference, wanted: Kind, base: dict[str, Any]) -> list[Example]:
    chosen, rejected = example.chosen, example.rejected
    second = {**base, "id": f"{example.id}/rejected"}
    if wanted == "preference":
        told = {"margin": example.margin, "safe": example.safe, "tie": example.tie}
        return [Preference(**base, chosen=chosen, rejected=rejected, **told)]
    if wanted == "ranking":
        gap = 1.0 if example.margin is None else max(example.margin, 0.0)  # chosen is never worse
        gap = 0.0 if example.tie else gap
        return [Ranking(**base, ranked=[chosen, rejected], scores=[gap, 0.0])]
    if example.tie and wanted in ("rating", "demonstration"):
        return []
    if wanted == "rating":
        return [Rating(**base, response=chosen, desirable=True), Rating(**second, response=rejected, desirable=False)]
    if wanted == "demonstration":
        return [Demonstration(**base, response=chosen)]
    assert isinstance(example, Feedback)
    said = zip((base, second), (chosen, rejected), example.critique, strict=True)
    return [_critique(named, answer, critique) for named, answer, critique in said if critique is not None]


def _critique(base: dict[str, Any], answer: Response, critique: str) -> Critique:
    asked = [{"role": "assistant", "content": answer}, {"role": "user", "content": [text(REQUEST)]}]
    return Critique(**{**base, "messages": [*base["messages"], *asked]}, response=[text(critique)])
