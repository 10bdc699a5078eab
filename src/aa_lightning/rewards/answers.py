r"""Verifiers: whether a response gives the answer that the data expects. Data say which one with `template.check`.

| check | right is |
|---|---|
| exact | the same words and nothing else; case and punctuation do not count, and numbers are compared by value |
| number | one number, in any unit, stated behind `####` or `answer is`, in \boxed{}, or else in the last sentence |
| choice | one option letter, or the words of the option alone |
| contains | the expected words in a row, in an answer that leaves no other one open |
| math | what the library math-verify finds equal: LaTeX, sets, intervals, equations |
| shapes | what the procedural world Shapes asks for, in words, in a picture or in a sound |

All are strict: where a response states two answers, or says what the answer is not, it is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from aa_lightning.rewards import mathematics
from aa_lightning.rewards.numbers import Number, numbers, whole
from aa_lightning.rewards.wording import announced, sentences, wavers, words
from aa_lightning.types import Check, Response

_LETTER = re.compile(r"(?<![A-Za-z0-9'’])\(?([A-Z])\)?(?![A-Za-z0-9'’])")
_ARTICLE = re.compile(r"(?<![(A-Za-z0-9'’])[AI](?= (?!and\b|or\b|is\b)[a-z])")  # and the pronoun
_LEADING = re.compile(r"\s*(?:option\s+|choice\s+)?(?:\(([A-Za-z])\)|([A-Za-z])(?=[.):]|\s*$)[.):]?)\s*", re.IGNORECASE)


def exact(expected: str, said: str) -> bool:
    """Compare words, and numbers by value: 72.0 is 72, −4 is not 4, 72 apples are not 72."""
    one, other = whole(expected), whole(said)
    if one is not None and other is not None:
        return one.exact == other.exact
    wanted = words(expected)
    return words(said) == wanted if wanted else said.strip() == expected.strip()


def number(expected: str, said: str) -> bool:
    """Compare the one number that is stated; an expected answer that is no number is compared as by `exact`."""
    wanted, stated = whole(expected), _stated_numbers(said)
    if wanted is None:
        return exact(expected, said)
    return bool(stated) and all(wanted.equals(one) for one in stated)


def choice(expected: str, said: str) -> bool:
    """Compare option letters; the expected answer is a letter, (B), a letter and its text, or a text alone.

    A text alone is right where it is said by itself or behind a letter, which may be any: which letter it has is not known.
    """
    stated = said if (found := announced(said)) is None else found
    letter, option = _letter_and_text(expected)
    if letter is not None and _letter(stated) == letter:
        return True
    said_letter, text = _letter_and_text(stated)
    if not option or (letter is not None and said_letter is not None):
        return False
    return exact(option, text or stated)


def contains(expected: str, said: str) -> bool:
    """Look for the expected words in a row, in what is announced as the answer or else in the whole text."""
    stated = announced(said) or said
    wanted, found = words(expected), words(stated)
    if wavers(stated) and not wavers(expected):
        return False
    return bool(wanted) and any(found[i : i + len(wanted)] == wanted for i in range(len(found) - len(wanted) + 1))


def math(expected: str, said: str) -> bool:
    """Compare as mathematics; words and plain numbers without the library."""
    stated = announced(said)
    stated = mathematics.last_formula(said) if stated is None else stated
    if not mathematics.has_formula(expected):
        return exact(expected, stated)
    one, other = whole(expected), whole(stated)
    return mathematics.equal(expected, stated) if one is None or other is None else one.equals(other)


def shapes(expected: str, said: str) -> bool:
    """Compare what Shapes was asked for with what is said of it."""
    from aa_lightning.data.shapes import check_answer

    return check_answer(expected, said)


CHECKS: dict[Check, Callable[[str, str], bool]] = {
    "exact": exact,
    "number": number,
    "choice": choice,
    "contains": contains,
    "math": math,
    "shapes": shapes,
}


def said(check: Check, expected: str, response: Response) -> bool | None:
    """Tell whether the text of a response is right; None: it is made of other media alone."""
    if response and all(part["type"] != "text" for part in response):
        return None
    return CHECKS[check](expected, spoken(response))


def drew(check: Check, expected: str, response: Response) -> bool | None:
    """Tell whether the first picture is right; None: the expected answer is none that can be read off a picture."""
    from aa_lightning.data.shapes import can_check, check_picture

    if check != "shapes" or not can_check(expected):
        return None
    pictures = [part["image"] for part in response if part["type"] == "image"]
    return bool(pictures) and check_picture(expected, pictures[0])


def played(check: Check, expected: str, response: Response) -> bool | None:
    """Tell whether the first sound is right; None: the expected answer is none that can be heard in a sound."""
    from aa_lightning.data.shapes import can_check_sound, check_sound

    if check != "shapes" or not can_check_sound(expected):
        return None
    sounds = [part["audio"] for part in response if part["type"] == "audio"]
    return bool(sounds) and check_sound(expected, sounds[0])


def spoken(response: Response) -> str:
    """Join the texts of a response."""
    return "".join(part["text"] for part in response if part["type"] == "text")


def _stated_numbers(said: str) -> list[Number]:
    """The numbers of the answer, behind its last equals sign; none where it wavers."""
    stated = announced(said)
    if stated is None:
        stated = next((one for one in reversed(sentences(said)) if numbers(one)), "")
    return [] if wavers(stated) else numbers(stated.rpartition("=")[2])


def _letter(stated: str) -> str | None:
    """The one option letter that is stated, by itself, in brackets, or as a capital in a sentence."""
    leading = _LEADING.match(stated)
    told = [] if leading is None else [(leading[1] or leading[2]).upper()]
    first = stated if leading is None else (sentences(stated[leading.end() :]) or [""])[0]
    told += _LETTER.findall(_ARTICLE.sub(" ", first))
    return told[0] if len(set(told)) == 1 and not wavers(first) else None


def _letter_and_text(answer: str) -> tuple[str | None, str]:
    """`(B) reggae` as its letter and its text."""
    leading = _LEADING.match(answer)
    if leading is None:
        return None, answer.strip()
    return (leading[1] or leading[2]).upper(), answer[leading.end() :].strip()
