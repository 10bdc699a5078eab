"""The few things that a mapping cannot say: functions from the values of some columns to new columns."""

from __future__ import annotations

import json
import pkgutil
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from aa_lightning.data.shapes.language import look
from aa_lightning.data.shapes.render import box
from aa_lightning.data.shapes.scenes import GRID, Figure
from aa_lightning.data.sources.cells import literal
from aa_lightning.data.template import choices
from aa_lightning.data.template.selection import claim_score, csr_reward

Columns = dict[str, Any]
_SPEAKER = re.compile(r"\n\n(Human|Hum|Assistant): ?")


def hh_transcript(chosen: str, rejected: str) -> Columns:
    r"""Two transcripts of `\n\nHuman: ...\n\nAssistant: ...` that part at the last answer.

    Returns:
        prompt (the shared turns), chosen, rejected (the two answers).

    Raises:
        ValueError: the transcripts part earlier, or do not end with an answer.
    """
    turns, others = _transcript(chosen), _transcript(rejected)
    if turns[:-1] != others[:-1]:
        raise ValueError(
            "The two transcripts part before their last turn, so their answers belong to different prompts."
        )
    if turns[-1]["role"] != "assistant" or others[-1]["role"] != "assistant":
        raise ValueError("The transcripts do not end with an answer of the assistant.")
    return {"prompt": turns[:-1], "chosen": turns[-1]["content"], "rejected": others[-1]["content"]}


def majority(answers: Sequence[str]) -> Columns:
    """The most frequent answer (the first of equals), as OK-VQA is read.

    Returns:
        majority.
    """
    if not answers:
        raise ValueError("The list of answers is empty.")
    return {"majority": Counter(answers).most_common(1)[0][0]}


def choice_with_rationale(choices: Sequence[str], correct: int, rationales: Sequence[str]) -> Columns:
    """The right choice and the reasons for it, as A-OKVQA is read.

    Returns:
        choice, rationale.
    """
    if not 0 <= correct < len(choices):
        raise ValueError(f"The index {correct} of the right choice is not among {len(choices)} choices.")
    return {"choice": choices[correct], "rationale": " ".join(rationales)}


def thoughts(thoughts: Sequence[dict[str, str | None]], answer: str, tokens: Sequence[str]) -> Columns:
    """Thoughts between three special tokens a, b, c: `a`, then every thought followed by `b`, then `c` and the answer.

    Returns:
        thoughts.
    """
    start, step, end = tokens
    lines = [
        f"**{thought['title']}**\n{thought['content']}" if thought.get("title") else thought["content"]
        for thought in thoughts
    ]
    return {"thoughts": start + "".join(f"{line}\n{step}\n" for line in lines) + end + answer}


def summary_request(info: Mapping[str, str | None]) -> Columns:
    """The request that OpenAI's comparisons of summaries answer: a post of a forum with its title, or an article.

    Returns:
        request.
    """
    if info.get("post"):
        told = {"SUBREDDIT": f"r/{info.get('subreddit')}", "TITLE": info.get("title"), "POST": info["post"]}
        return {"request": "\n\n".join(f"{key}: {value}" for key, value in told.items()) + "\n\nTL;DR:"}
    if info.get("article"):
        return {"request": f"Article: {info['article']}\n\nTL;DR:"}
    raise ValueError(f"There is neither a post nor an article; there is {', '.join(info)}.")


def python_literal(written: str) -> Columns:
    """A cell that holds a list or mapping as Python writes it; it is read as a literal and never run.

    Returns:
        literal.
    """
    try:
        return {"literal": literal(written)}
    except (SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError(f"It is no Python literal ({type(error).__name__}).") from error


def mean_at_least(*ratings: float | str, least: float) -> Columns:
    """Tell whether the mean of some ratings reaches a bound.

    Returns:
        desirable, mean.
    """
    mean = sum(map(float, ratings)) / len(ratings)
    return {"desirable": mean >= least, "mean": mean}


def self_rewards(
    likelihoods: Sequence[Sequence[float]], similarities: Sequence[Sequence[float]], weight: float
) -> Columns:
    """The calibrated self-reward (CSR) of n answers, from a number per sentence of each.

    Returns:
        rewards.
    """
    both = zip(likelihoods, similarities, strict=True)
    return {"rewards": [csr_reward(likely, similar, weight) for likely, similar in both]}


def claim_scores(yes: Sequence[Sequence[float]], no: Sequence[Sequence[float]]) -> Columns:
    """The scores (RLAIF-V) of n answers, from the probabilities of yes and of no for each claim of each.

    Returns:
        claim_scores.
    """
    return {"claim_scores": [claim_score(*both) for both in zip(yes, no, strict=True)]}


def instructed(turns: Sequence[Mapping[str, str | None]], key: str) -> Columns:
    """The instruction of one kind and its answer, of several with keys of their own, as VLGuard is read.

    Returns:
        asked, said; empty where there is no instruction of this kind.
    """
    found = next((turn for turn in turns if turn.get(key)), {key: "", "response": ""})
    return {"asked": found[key], "said": found["response"]}


def boxes(scene: str, size: int) -> Columns:
    """The box of a figure of Shapes that looks like no other one of its scene, and one of the same size in another column.

    Args:
        scene: the ground truth as JSON.
        size: of the picture, in pixels.

    Returns:
        look, such as `red circle`; box and elsewhere, as texts `[left, top, right, bottom]`.
    """
    figures = [
        Figure(**{**told, "cell": tuple(told["cell"]), "shift": tuple(told["shift"])}) for told in json.loads(scene)
    ]
    looks = [look(figure) for figure in figures]
    one = next(figure for figure in figures if looks.count(look(figure)) == 1)
    row, column = one.cell
    other = replace(one, cell=(row, (column + 1) % GRID))
    return {"look": look(one), "box": str([*box(one, size)]), "elsewhere": str([*box(other, size)])}


_OURS = (
    hh_transcript,
    majority,
    choice_with_rationale,
    thoughts,
    summary_request,
    python_literal,
    mean_at_least,
    self_rewards,
    claim_scores,
    instructed,
    boxes,
    *choices.OURS,
)
FUNCTIONS: dict[str, Callable[..., Columns]] = {function.__name__: function for function in _OURS}


def find(name: str) -> Callable[..., Columns]:
    """One of ours by its name, or the user's own by its dotted path.

    Raises:
        ValueError: there is neither.
    """
    if name in FUNCTIONS:
        return FUNCTIONS[name]
    try:
        return pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"template.function.name={name} is neither one of {', '.join(FUNCTIONS)} nor the dotted path of a function "
            f"that can be imported ({error})"
        ) from error


def _transcript(said: str) -> list[dict[str, str]]:
    pieces = _SPEAKER.split(said)
    if len(pieces) < 3 or pieces[0].strip():
        raise ValueError(r"The transcript does not begin with '\n\nHuman: '.")
    roles = ["assistant" if speaker.startswith("A") else "user" for speaker in pieces[1::2]]
    return [{"role": role, "content": content.strip()} for role, content in zip(roles, pieces[2::2], strict=True)]
