r"""Equality of formulas, as math-verify finds it, in the guarded process, which is ended when it takes too long.

A few characters of LaTeX can stand for a number with more digits than memory holds, and no signal interrupts its computation.
LaTeX is parsed by a grammar; nothing that a model wrote is evaluated as Python.
"""

from __future__ import annotations

import re
from importlib.util import find_spec

import numpy as np

from aa_lightning.media import MediaError, guard
from aa_lightning.media.options import GuardOptions
from aa_lightning.rewards.wording import plain, sentences, wavers

SECONDS = 5.0  # for one comparison, until its process is ended
_PARSING, _COMPARING = 1, 2  # seconds until the library gives up by itself, where it can be interrupted
_LIMITS = GuardOptions(seconds=SECONDS, bytes=2**31)
_LOADING = GuardOptions(seconds=120.0, bytes=2**31)
_LONGEST = 2000  # characters of a formula
_MISSING = (
    "answers of this data set are compared as mathematics (check: math in its template), which needs a package that is not "
    "installed: pip install 'aa_lightning[math]', or type data.template.check=exact"
)
_FORMULA = re.compile(r"\$\$(.+?)\$\$|\$(.+?)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_STATES = re.compile(r"\b(?:is|are|equals|be)\b|是|为|：|:", re.IGNORECASE)
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{3,}")


def require() -> None:
    """Refuse to go on without the library.

    Raises:
        ValueError: it is not installed.
    """
    if find_spec("math_verify") is None:
        raise ValueError(_MISSING)


def last_formula(said: str) -> str:
    """Return the last formula between dollar signs or LaTeX brackets; without one, what the last sentence states. Where that
    sentence wavers, all its formulas together, which are no one answer."""
    last = (sentences(said) or [""])[-1]
    found, there = _formulas(said), _formulas(last)
    if found:
        return ", ".join(there) if wavers(last) and there else found[-1]
    return _STATES.split(last)[-1].strip() if _WORD.search(last) else last.strip()


def has_formula(expected: str) -> bool:
    """Tell whether a text is more than words, whose letters would be multiplied: Paris as a product equals Pairs."""
    return bool(re.search(r"[\d\\^_=<>+*/{}()\[\]]", expected)) or not _WORD.search(expected)


def equal(expected: str, said: str) -> bool:
    """Compare two formulas in LaTeX or as they are typed; too slow a comparison is not equal.

    Raises:
        ValueError: the library is not installed.
    """
    require()
    one, other = _bare(expected), _bare(said)
    if not one or not other or max(len(one), len(other)) > _LONGEST:
        return False
    guard.call(_library, what="library for mathematics", limits=_LOADING)  # a process that is new has yet to
    try:
        return bool(guard.call(_verified, one, other, what="formulas", limits=_LIMITS, within=SECONDS)["equal"])
    except MediaError:
        return False


def _formulas(said: str) -> list[str]:
    return [next(filter(None, match.groups())) for match in _FORMULA.finditer(said)]


def _bare(formula: str) -> str:
    """Without dollar signs, LaTeX brackets and the dot of a sentence."""
    inside = _FORMULA.fullmatch(formula.strip().removesuffix("."))
    bare = next(filter(None, inside.groups())) if inside else formula
    return plain(bare).strip().removesuffix(".").strip()


def _library() -> guard.Arrays:
    """Load the library, in the guarded process."""
    import math_verify  # noqa: F401

    return {}


def _verified(expected: str, said: str) -> guard.Arrays:
    """Compare by the library, in the guarded process."""
    from math_verify import LatexExtractionConfig, parse, verify

    def parsed(formula: str) -> list:
        body, percent = (formula[:-1].rstrip("\\ "), "%") if formula.endswith("%") else (formula, "")
        return parse(f"${body}${percent}", [LatexExtractionConfig()], "no_fallback", parsing_timeout=_PARSING)

    return {"equal": np.array(verify(parsed(expected), parsed(said), timeout_seconds=_COMPARING), np.uint8)}
