"""Aggregates as the tables of single benchmarks have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from aa_lightning.configuration.schema import hyperparameters
from aa_lightning.scoring.groups import column, grouped, mean, scores, share
from aa_lightning.scoring.question import Aggregating, Scored, Weighed

_PERCEPTION = ("existence", "count", "position", "color", "posters", "celebrity", "scene", "landmark", "artwork", "OCR")
_COGNITION = ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning")
_SECTIONS: Mapping[str, Mapping[str, int]] = {  # how many rows each subset counts for
    "Chat": {
        "alpacaeval-easy": 100,
        "alpacaeval-length": 95,
        "alpacaeval-hard": 95,
        "mt-bench-easy": 28,
        "mt-bench-med": 40,
    },
    "Chat Hard": {
        "mt-bench-hard": 37,
        "llmbar-natural": 100,
        "llmbar-adver-neighbor": 134,
        "llmbar-adver-GPTInst": 92,
        "llmbar-adver-GPTOut": 47,
        "llmbar-adver-manual": 46,
    },
    "Safety": {
        "refusals-dangerous": 100,
        "refusals-offensive": 100,
        "xstest-should-refuse": 154,
        "xstest-should-respond": 250,
        "donotanswer": 136,
    },
    "Reasoning": {"math-prm": 984} | {f"hep-{one}": 164 for one in ("cpp", "go", "java", "js", "python", "rust")},
}
_QUALITY = {  # dimension: its smallest and its largest value, and its weight
    "subject consistency": (0.1462, 1.0, 1.0),
    "background consistency": (0.2615, 1.0, 1.0),
    "temporal flickering": (0.6293, 1.0, 1.0),
    "motion smoothness": (0.706, 0.9975, 1.0),
    "aesthetic quality": (0.0, 1.0, 1.0),
    "imaging quality": (0.0, 1.0, 1.0),
    "dynamic degree": (0.0, 1.0, 0.5),
}
_SEMANTIC = {
    "object class": (0.0, 1.0, 1.0),
    "multiple objects": (0.0, 1.0, 1.0),
    "human action": (0.0, 1.0, 1.0),
    "color": (0.0, 1.0, 1.0),
    "spatial relationship": (0.0, 1.0, 1.0),
    "scene": (0.0, 0.8222, 1.0),
    "appearance style": (0.0009, 0.2855, 1.0),
    "temporal style": (0.0, 0.364, 1.0),
    "overall consistency": (0.0, 0.364, 1.0),
}


@hyperparameters
class Mme(Aggregating):
    """MME (2306.13394): each category has 100 · (share of right answers + share of pictures with both right); `mme` is their
    sum, `mme/perception` and `mme/cognition` those of its halves, `mme/<category>` of one.

    A picture with only one of its two answers is not right.

    Attributes:
        category, picture: columns.
    """

    name: Literal["mme"] = "mme"
    category: str = "category"
    picture: str = "question_id"

    def weighed(self, rows: Sequence[Scored]) -> tuple[int, Weighed]:
        pictures = grouped(rows, [self.category, self.picture])
        kinds = np.array([str(kind) for kind, _ in pictures])
        right = np.array([scores(group, "score").sum() for group in pictures.values()])
        asked = np.array([float(len(group)) for group in pictures.values()])
        names = list(dict.fromkeys(kinds.tolist()))

        def of(weights: np.ndarray) -> dict[str, np.ndarray]:
            told = {}
            for name in names:
                own = weights * (kinds == name)
                told[name] = 100 * (share(own @ right, own @ asked) + mean(own, (right == 2).astype(float)))
            sums = {half: [told[one] for one in names if one in kinds] for half, kinds in _HALVES.items()}
            totals = {f"mme/{half}": np.sum(of_half, 0) for half, of_half in sums.items() if of_half}
            return {"mme": np.sum([*told.values()], 0), **totals, **{f"mme/{one}": v for one, v in told.items()}}

        return len(pictures), of


@hyperparameters
class RewardBench(Aggregating):
    """RewardBench (2403.13787): subsets count in their sections by fixed numbers of rows, and sections count the same:
    `rewardbench`, `rewardbench/<section>`. A subset without rows is left out; without a whole section there is no total.

    Attributes:
        subset: column.
    """

    name: Literal["rewardbench"] = "rewardbench"
    subset: str = "subset"

    def weighed(self, rows: Sequence[Scored]) -> tuple[int, Weighed]:
        values, subsets = (
            scores(rows, "score"),
            _known(rows, self.subset, [n for one in _SECTIONS.values() for n in one]),
        )

        def of(weights: np.ndarray) -> dict[str, np.ndarray]:
            told = {}
            for section, counts in _SECTIONS.items():
                there = [name for name in counts if name in subsets]
                means = np.array([mean(weights * (subsets == name), values) for name in there])
                if there:
                    counted = np.array([[counts[name]] for name in there]) * ~np.isnan(means)
                    told[f"rewardbench/{section}"] = share((np.nan_to_num(means) * counted).sum(0), counted.sum(0))
            whole = {"rewardbench": np.mean([*told.values()], 0)} if len(told) == len(_SECTIONS) else {}
            return whole | told

        return len(rows), of


@hyperparameters
class VBench(Aggregating):
    """VBench (2311.17982): dimensions as shares of their ranges, weighted: `vbench` is (4 quality + semantic) / 5, with
    `vbench/quality` and `vbench/semantic`. What lacks a dimension has no number.

    Attributes:
        dimension: column.
    """

    name: Literal["vbench"] = "vbench"
    dimension: str = "dimension"

    def weighed(self, rows: Sequence[Scored]) -> tuple[int, Weighed]:
        values = scores(rows, "score")
        dimensions = _known(rows, self.dimension, [*_QUALITY, *_SEMANTIC])

        def of(weights: np.ndarray) -> dict[str, np.ndarray]:
            told = {}
            for half, constants in (("quality", _QUALITY), ("semantic", _SEMANTIC)):
                if set(constants) <= set(dimensions.tolist()):
                    raw = {name: mean(weights * (dimensions == name), values) for name in constants}
                    parts = [w * (raw[name] - low) / (high - low) for name, (low, high, w) in constants.items()]
                    told[f"vbench/{half}"] = np.sum(parts, 0) / sum(w for _, _, w in constants.values())
            if len(told) == 2:
                told["vbench"] = (4 * told["vbench/quality"] + told["vbench/semantic"]) / 5
            return told

        return len(rows), of


def _known(rows: Sequence[Scored], by: str, names: Sequence[str]) -> np.ndarray:
    """The name that each row has in a column, which may have _ for spaces.

    Raises:
        ValueError: it is none of those that are known.
    """
    known = {one for name in names for one in (name, name.replace(" ", "_"))}
    for row in rows:
        if column(row, by) not in known:
            raise ValueError(f"{by} of question {row.question.id} is {column(row, by)!r}; there is {', '.join(names)}")
    return np.array([str(column(row, by)).replace("_", " ") for row in rows])


_HALVES = {"perception": _PERCEPTION, "cognition": _COGNITION}
