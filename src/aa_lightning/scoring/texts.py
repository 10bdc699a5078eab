"""Extractors of texts, numbers and objects."""

from __future__ import annotations

import ast
import json
import re
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import AfterValidator

from aa_lightning.configuration.schema import hyperparameters
from aa_lightning.rewards.wording import boxed
from aa_lightning.scoring.normalising import NORMAL, Normal
from aa_lightning.scoring.question import Extracting, Question

_LONGEST = 20_000  # characters that expressions, and literals, may be looked for in
_NUMBER = re.compile(r"(?:(?<![\w.])[-−])?(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)")
_WORD = re.compile(r"\w+")
_ENDINGS = (("y", "ies"), ("f", "ves"), ("fe", "ves"), ("man", "men"))
_PLURALS = {"person": ("people",), "child": ("children",), "mouse": ("mice",), "goose": ("geese",)}


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
    return pattern


Pattern = Annotated[str, AfterValidator(_compiles)]


@hyperparameters
class Identity(Extracting):
    """All that was said, without white space around it."""

    name: Literal["identity"] = "identity"

    def __call__(self, said: str, question: Question) -> str | None:
        return said.strip() or None


@hyperparameters
class Regex(Extracting):
    """The match of a regular expression: its first group that takes part, or all of it without groups.

    Of a long text, the end is looked at for the last match, and the beginning for the first.

    Attributes:
        pattern: as Python writes it; (?i) in front: in any case.
        which: of several matches.
        remove: expression of what is taken away before; None: nothing.
    """

    name: Literal["regex"] = "regex"
    pattern: Pattern
    which: Literal["first", "last"] = "first"
    remove: Pattern | None = None

    def __call__(self, said: str, question: Question) -> str | None:
        said = said[:_LONGEST] if self.which == "first" else said[-_LONGEST:]
        said = said if self.remove is None else re.sub(self.remove, "", said)
        matches = re.finditer(self.pattern, said)
        found = next(matches, None)
        if self.which == "last":
            for found in matches:  # noqa: B007, the last one is wanted
                pass
        if found is None:
            return None
        return next((group for group in found.groups() if group is not None), found[0]).strip() or None


@hyperparameters
class LastNumber(Extracting):
    """The last number in digits, without the commas in it."""

    name: Literal["number"] = "number"

    def __call__(self, said: str, question: Question) -> str | None:
        found = _NUMBER.findall(said)
        return found[-1].replace(",", "").replace("−", "-") if found else None


@hyperparameters
class Boxed(Extracting):
    r"""The text in the last \boxed{}."""

    name: Literal["boxed"] = "boxed"

    def __call__(self, said: str, question: Question) -> str | None:
        found = boxed(said)
        return said[slice(*found[-1])].strip() or None if found else None


@hyperparameters
class Normalised(Extracting):
    """All that was said, made comparable.

    Attributes:
        how: in small letters without white space around them, or as answers of the VQA challenge.
    """

    name: Literal["normalise"] = "normalise"
    how: Normal

    def __call__(self, said: str, question: Question) -> str | None:
        return NORMAL[self.how](said) or None


@hyperparameters
class Literally(Extracting):
    """A key of the JSON object, or Python dictionary, that a judge answers with. Nothing is executed.

    Attributes:
        field: the key.
    """

    name: Literal["json"] = "json"
    field: str

    def __call__(self, said: str, question: Question) -> Any | None:
        said = said[-_LONGEST:]
        literal = said[said.find("{") : said.rfind("}") + 1]
        for read in (json.loads, ast.literal_eval):
            try:
                return read(literal).get(self.field)
            except (ValueError, SyntaxError, AttributeError, TypeError, RecursionError, MemoryError):
                continue
        return None


@hyperparameters
class Objects(Extracting):
    """Objects that a caption names, each as often as it does, under their own names (CHAIR, 1809.02156).

    The longest of several words counts, so that a hot dog among them is no dog. Plurals count too.

    Attributes:
        synonyms: object → other words for it.
    """

    name: Literal["objects"] = "objects"
    synonyms: dict[str, list[str]]

    def __call__(self, said: str, question: Question) -> list[str] | None:
        words, named, at = _WORD.findall(said.lower()), [], 0
        names, longest = self._names, self._longest
        while at < len(words):
            spans = (tuple(words[at : at + n]) for n in range(longest.get(words[at], 0), 0, -1))
            known = next((span for span in spans if span in names), None)
            if known:
                named.append(names[known])
            at += len(known) if known else 1
        return named if words else None

    @cached_property
    def _names(self) -> dict[tuple[str, ...], str]:
        """The words of each name, and of several of it, with the object that they stand for."""
        return {form: thing for thing, others in self.synonyms.items() for w in (thing, *others) for form in _forms(w)}

    @cached_property
    def _longest(self) -> dict[str, int]:
        """The number of words of the longest name that begins with a word."""
        longest: dict[str, int] = {}
        for first, *others in self._names:
            longest[first] = max(longest.get(first, 0), 1 + len(others))
        return longest


def _forms(name: str) -> list[tuple[str, ...]]:
    """The words of a name, and of several of it."""
    *before, last = _WORD.findall(name.lower())
    several = [f"{last}s", f"{last}es", *_PLURALS.get(last, ())]
    several += [last.removesuffix(one) + more for one, more in _ENDINGS if last.endswith(one)]
    return [(*before, word) for word in (last, *several)]
