"""Lists of answers to one prompt: as a ranking, as pairs, or as the answers that are kept."""

from __future__ import annotations

from random import Random
from typing import Any

from aa_lightning.data.errors import LeftOut
from aa_lightning.data.template.labels import label_scores, means, pair_up, read_ratings, spread
from aa_lightning.data.template.parts import are_equal, text_length
from aa_lightning.data.template.row_reader import Reader, name
from aa_lightning.data.template.schema import PartOptions, TemplateOptions
from aa_lightning.data.template.selection import above, acceptable, best_of_n, rejection_sampling
from aa_lightning.types import Demonstration, Example, Feedback, Preference, Ranking, Response

_MOST_ANSWERS = 512


def read_answers(options: TemplateOptions, reader: Reader, base: dict[str, Any]) -> list[Example]:
    """One ranking, demonstrations, or pairs."""
    responses = _listed(options, reader)
    ratings = read_ratings(reader, options.ratings or {}, n=len(responses))
    if options.preferred is None:
        scores, scored_by = means(reader, ratings), ", ".join(ratings)
    else:
        scores, scored_by = label_scores(reader, options.preferred)
    if len(responses) > _MOST_ANSWERS:
        reason = f"There are {len(responses)} answers; {_MOST_ANSWERS} are read at most: they are learnt from in pairs."
        raise reader.bad(_answers_column(options), reason)
    if len(scores) != len(responses):
        raise reader.bad(scored_by, f"There are {len(scores)} values for {len(responses)} answers.")
    if options.kind == "demonstration":
        kept = _kept(options, scores, Random(f"{reader.id}/kept"))
        return [Demonstration(**base, response=responses[i]) for i in kept]
    if options.kind == "ranking":
        return [_ranking(options, reader, base, responses, scores)]
    return _pairs(options, reader, base, responses, scores, scored_by, ratings)


def _listed(options: TemplateOptions, reader: Reader) -> list[Response]:
    """One response for each element of the list column."""
    answers = options.answers
    if isinstance(answers, PartOptions) and answers.medium is not None:
        values = reader.elements(answers.selector)
        return [[reader.media_part(answers.medium, value, answers.selector)] for value in values]
    selector = answers.text if isinstance(answers, PartOptions) else answers
    return [[reader.text_part(str(value or ""), name(selector))] for value in reader.elements(selector)]


def _kept(options: TemplateOptions, scores: list[float], rng: Random) -> list[int]:
    told = options.keep_answers
    if told.name == "best":
        return [best_of_n(scores)[0]]
    return above(scores, told.threshold) if told.name == "above" else rejection_sampling(scores, told.beta, rng)


def _ranking(
    options: TemplateOptions, reader: Reader, base: dict[str, Any], responses: list[Response], scores: list[float]
) -> Ranking:
    wanted = options.ranked
    if len(responses) < (wanted or 2):
        raise reader.unwanted(
            "empty", _answers_column(options), f"{wanted or 2} answers make a ranking, and there are {len(responses)}."
        )
    order = spread(scores, wanted)
    return Ranking(**base, ranked=[responses[i] for i in order], scores=[scores[i] for i in order])


def _pairs(
    options: TemplateOptions,
    reader: Reader,
    base: dict[str, Any],
    responses: list[Response],
    scores: list[float],
    scored_by: str,
    ratings: dict[str, list[float | None]],
) -> list[Example]:
    preferred = options.preferred
    pairs = pair_up(scores, options.pairs, Random(f"{reader.id}/pairs"))
    unlike = [pair for pair in pairs if not are_equal(responses[pair[0]], responses[pair[1]])]
    if pairs and not unlike:
        raise reader.unwanted("equal_responses", _answers_column(options), "All answers are equal.")
    if not pairs:
        tie = preferred is not None and preferred.tie == "drop"
        raise reader.unwanted("tie", scored_by, f"All {len(responses)} answers are tied.", dropped=tie)
    good = [(i, j) for i, j in unlike if accepts(options, scores[i] - scores[j], responses[i], responses[j])]
    if unlike and not good:
        raise LeftOut(reader.id, scored_by, f"None of {len(unlike)} pairs is one that `accept` accepts.")
    return [make_pair(options, reader, base, responses, pair, ratings) for pair in good]


def make_pair(
    options: TemplateOptions,
    reader: Reader,
    base: dict[str, Any],
    responses: list[Response],
    order: tuple[int, int],
    ratings: dict[str, list[float | None]],
) -> Preference:
    """The two responses of an order as a pair, with scores where every rating is given.

    Raises:
        BadRow: they are equal.
    """
    chosen, rejected = (responses[i] for i in order)
    if are_equal(chosen, rejected):
        raise reader.unwanted("equal_responses", response_columns(options), "The two responses are equal.")
    if options.kind == "preference":
        return Preference(**base, chosen=chosen, rejected=rejected)
    scores = {dimension: tuple(values[i] for i in order) for dimension, values in ratings.items()}
    given = {dimension: pair for dimension, pair in scores.items() if None not in pair}
    return Feedback(**base, chosen=chosen, rejected=rejected, scores=given)


def accepts(options: TemplateOptions, gap: float | None, better: Response, worse: Response) -> bool:
    """Tell whether a pair's gap and lengths are those that the mapping accepts."""
    told = options.accept
    lengths = (text_length(better), text_length(worse))
    return acceptable(gap, lengths, told.gap, told.length_ratio)


def response_columns(options: TemplateOptions) -> str:
    """The columns that responses are read from, as errors name them."""
    if options.responses is None:
        return ", ".join(options.split_common_prefix or [_answers_column(options)])
    parts = [part for answer in options.responses for part in answer]
    return ", ".join(name(part.selector) for part in parts)


def _answers_column(options: TemplateOptions) -> str:
    answers = options.answers
    return name(answers.selector if isinstance(answers, PartOptions) else answers)
