"""Rewards for boxes around what a question is about, [x1, y1, x2, y2]."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import PositiveFloat

from aa_lightning.rewards.answers import spoken
from aa_lightning.rewards.rules import answer_of, final, rule
from aa_lightning.rewards.texts import parsed
from aa_lightning.types import Prompt, Response

Corners = tuple[float, float, float, float]
Coordinates = Literal["pixels", "thousandths", "shares"]
_NUMBER = r"\s*(-?\d{1,9}(?:\.\d{1,9})?)\s*"
_BOX = re.compile(rf"[\[(]{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}[\])]")
_LIST = re.compile(r"\[.*\]", re.DOTALL)
_MOST = 500  # boxes of a response that are read


@dataclass(frozen=True)
class Box:
    """A box, and what is in it; None: nobody said."""

    corners: Corners
    label: str | None = None


@rule
class Iou:
    """Overlap of the box in a response with the expected one: intersection over union (VLM-R1, 2504.07615 §3.2).

    Attributes:
        coordinates: of a response's box: pixels, as the expected one; thousandths or shares of the prompt's first picture.
        threshold: below which the reward is 0; null: none.
        right: whether an overlap above the threshold is 1.
    """

    coordinates: Coordinates
    threshold: PositiveFloat | None
    right: bool

    def __call__(self, prompt: Prompt, response: Response) -> float:
        """Return the reward of one response; 0 where it has no box, or more than one.

        Raises:
            ValueError: the prompt has no one box for an answer.
        """
        wanted, found = _expected(prompt), boxes_in(final(spoken(response)))
        if len(wanted) != 1:
            raise ValueError(f"its answer has {len(wanted)} boxes, and one is needed (reward=detection takes several)")
        if len(found) != 1:
            return 0.0
        overlap = iou(_placed(found[0].corners, self.coordinates, prompt), wanted[0].corners)
        if self.threshold is not None and overlap < self.threshold:
            return 0.0
        return 1.0 if self.right else overlap


@rule
class Detection:
    """Boxes of all that was to be found: the overlaps of matched boxes, over the larger number of boxes.

    Boxes are matched one to one, the largest overlaps first, and only where their labels are equal. Too many boxes cost as
    much as missing ones.

    Attributes:
        coordinates: as of `iou`.
        threshold: overlaps below it are none; null: all count.
        right: whether an overlap above the threshold is 1, so that the reward is a share of boxes.
        labels: whether labels are compared.
    """

    coordinates: Coordinates
    threshold: PositiveFloat | None
    right: bool
    labels: bool

    def __call__(self, prompt: Prompt, response: Response) -> float:
        """Return the reward of one response.

        Raises:
            ValueError: the prompt has no boxes for an answer.
        """
        wanted = _expected(prompt)
        found = [
            Box(_placed(box.corners, self.coordinates, prompt), box.label) for box in boxes_in(final(spoken(response)))
        ]
        if not wanted:
            return float(not found)
        overlaps = [value for value in matched(found, wanted, self.labels) if value >= (self.threshold or 0)]
        return (len(overlaps) if self.right else sum(overlaps)) / max(len(found), len(wanted))


def iou(one: Corners, other: Corners) -> float:
    """Intersection over union of two boxes [x1, y1, x2, y2]; 0 for one without area."""
    across = max(min(one[2], other[2]) - max(one[0], other[0]), 0.0)
    down = max(min(one[3], other[3]) - max(one[1], other[1]), 0.0)
    areas = [max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0) for box in (one, other)]
    union = sum(areas) - across * down
    return across * down / union if min(areas) > 0 else 0.0


def matched(found: Sequence[Box], wanted: Sequence[Box], labels: bool) -> list[float]:
    """Overlaps of pairs of boxes, each box in one pair at most, the largest overlaps first."""
    pairs = sorted(
        (
            (iou(one.corners, other.corners), i, j)
            for i, one in enumerate(found)
            for j, other in enumerate(wanted)
            if not labels or _same(one.label, other.label)
        ),
        reverse=True,
    )
    used: tuple[set[int], set[int]] = set(), set()
    overlaps = []
    for overlap, i, j in pairs:
        if overlap > 0 and i not in used[0] and j not in used[1]:
            used[0].add(i)
            used[1].add(j)
            overlaps.append(overlap)
    return overlaps


def boxes_in(said: str) -> list[Box]:
    """Read the boxes of a text: JSON objects with `bbox_2d`, `bbox` or `box`, and `label`; else four numbers in brackets."""
    inside = _LIST.search(said)
    for text in (said, inside[0] if inside else ""):
        listed = parsed(text)
        listed = [listed] if isinstance(listed, dict) else listed
        if isinstance(listed, list) and any(isinstance(one, dict) for one in listed):
            return [box for one in listed[:_MOST] if (box := _of_object(one)) is not None]
    found = [match.groups() for match in _BOX.finditer(said)][:_MOST]
    return [Box(tuple(map(float, corners))) for corners in found]  # type: ignore[arg-type]


def _of_object(one: Any) -> Box | None:
    if not isinstance(one, dict):
        return None
    corners = next((one[key] for key in ("bbox_2d", "bbox", "box") if key in one), None)
    numbers = isinstance(corners, list) and [c for c in corners if isinstance(c, int | float) and abs(c) < 1e9]
    if not numbers or len(numbers) != 4 or len(corners) != 4:
        return None
    return Box(tuple(map(float, numbers)), str(one["label"]) if "label" in one else None)  # type: ignore[arg-type]


def _expected(prompt: Prompt) -> list[Box]:
    """The boxes of the expected answer.

    Raises:
        ValueError: there is no answer, or nothing in it is a box.
    """
    expected = answer_of(prompt, "with boxes")
    found = boxes_in(expected)
    if not found and expected.strip() != "[]":
        raise ValueError(f"its answer {expected!r:.60} has no box [x1, y1, x2, y2]")
    return found


def _placed(corners: Corners, coordinates: Coordinates, prompt: Prompt) -> Corners:
    """Corners in pixels."""
    if coordinates == "pixels":
        return corners
    shown = (part["image"] for message in prompt.messages for part in message["content"] if part["type"] == "image")
    picture = next(shown, None)
    if picture is None:
        raise ValueError(f"coordinates={coordinates} are parts of a picture, and the prompt shows none")
    whole = 1000 if coordinates == "thousandths" else 1
    width, height = picture.size
    x1, y1, x2, y2 = corners
    return x1 * width / whole, y1 * height / whole, x2 * width / whole, y2 * height / whole


def _same(one: str | None, other: str | None) -> bool:
    return (one or "").strip().casefold() == (other or "").strip().casefold()
