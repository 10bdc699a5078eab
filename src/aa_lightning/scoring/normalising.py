"""Texts made comparable as benchmarks do it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

Normal = Literal["none", "lower_strip", "evalai"]
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_MOST_PERIODS = 32  # that the official code takes away
_GROUPED = re.compile(r"\d,\d")
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DIGITS = {"none": "0"} | {word: str(number) for number, word in enumerate(_NUMBERS)}
_ARTICLES = {"a", "an", "the"}
_ONE_APOSTROPHE = (
    "ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd how'll how's isn't it'd "
    "it'll ma'am mightn't might've mustn't must've needn't not've o'clock oughtn't shan't should've shouldn't somebody'll "
    "somebody's someone'd someone'll someone's something'd something'll that's there'd there're there's they'd they'll "
    "they're they've 'twas wasn't we've weren't what'll what're what's what've when's where'd where's where've who'd who'll "
    "who's who've why'll why're why's won't would've wouldn't y'all you'd you'll you're you've"
)
_MORE_APOSTROPHES = (
    "couldn't've hadn't've he'd've it'd've mightn't've she'd've shouldn't've somebody'd've someone'd've something'd've "
    "there'd've they'd've we'd've who'd've wouldn't've y'all'll you'd've 'ow's'at y'all'd've"
)
_CONTRACTIONS = (
    {word.replace("'", ""): word for word in _ONE_APOSTROPHE.split()}
    | {
        word[:i] + word[i + 1 :]: word
        for word in _MORE_APOSTROPHES.split()
        for i, sign in enumerate(word)
        if sign == "'"
    }
    | {"somebody'd": "somebodyd"}
)


def evalai(said: str) -> str:
    """Normalise an answer to a question about a picture as the code of the VQA challenge does (1505.00468).

    Small letters, digits for the words none to ten, no articles, no punctuation outside numbers, apostrophes restored.
    """
    said = said.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    said = without_punctuation(said.replace("\n", " ").replace("\t", " ").strip(), r"\.(?!\d)")
    words = [word for one in said.split() if (word := _DIGITS.get(one, one)) not in _ARTICLES]
    return " ".join(_CONTRACTIONS.get(word, word) for word in words)


def without_punctuation(said: str, period: str) -> str:
    """Take signs away that stand beside a space, or all where digits are grouped by commas; others become spaces.

    Args:
        said: a text in small letters.
        period: expression of the periods that go.
    """
    grouped, kept = _GROUPED.search(said) is not None, said
    for sign in _PUNCTUATION:
        apart = grouped or f"{sign} " in said or f" {sign}" in said
        kept = kept.replace(sign, "" if apart else " ")
    return re.sub(period, "", kept, count=_MOST_PERIODS)


NORMAL: dict[Normal, Callable[[str], str]] = {
    "none": str,
    "lower_strip": lambda said: said.strip().lower(),
    "evalai": evalai,
}
