"""Functions for questions with options: how they are listed, and which letter is right."""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_uppercase
from typing import Any

from aa_lightning.data.sources.cells import written_list

Columns = dict[str, Any]
_NOTHING = "nan"  # the text of what is not there
_LETTERED = re.compile(r"\(?([A-Z])[.):]\s*(.*)", re.DOTALL)
_INSIDE = re.compile(r"\b([A-Z]): ")
_MARK = re.compile(r"<image (\d+)>")


def options(*texts: Any, style: str = "{letter}. {text}", between: str = "\n") -> Columns:
    """Options with letters.

    Args:
        texts: one list of them, which may be written out in a text; or each by itself, where those that are not there are
            left out.
        style: of an option in the list, of `letter` and `text`.
        between: of two options.

    Returns:
        options (letter → text), listed.
    """
    given = _listed(texts[0]) if len(texts) == 1 else list(texts)
    pairs = zip(ascii_uppercase, given, strict=False)
    return _told({letter: text for letter, one in pairs if (text := _text(one))}, style, between)


def options_with_hint(hint: str | None, *texts: Any, before: str = "", **listing: str) -> Columns:
    """Options with letters, and what is told before the question.

    Args:
        hint: empty where nothing is told.
        before: what stands in front of a hint.
        listing: as of `options`.

    Returns:
        options, listed, told.
    """
    return {**options(*texts, **listing), "told": f"{before}{_text(hint)}" if _text(hint) else ""}


def written_options(texts: Any, between: str = "\n") -> Columns:
    """Options that begin with their letters, `A. red` or `(A) red`; or one text that holds them, `Options: A: red, B: blue`.

    Returns:
        options (letter → text), listed.
    """
    if isinstance(found := written_list(texts), str):
        pieces = _INSIDE.split(found.rpartition("Options:")[2])[1:]
        texts_of = zip(pieces[::2], pieces[1::2], strict=True)
        return {"options": {letter: text.strip().rstrip(",") for letter, text in texts_of}, "listed": ""}
    pairs = [_LETTERED.fullmatch(_text(one)) for one in _listed(found)]
    if not all(pairs):
        raise ValueError("An option does not begin with a letter, as `A. red` does.")
    return {"options": {one[1]: one[2] for one in pairs if one}, "listed": between.join(map(_text, _listed(found)))}


def capitalised(question: str) -> Columns:
    """A question that begins with a capital and has no others, as TextVQA is asked.

    Returns:
        capitalised.
    """
    return {"capitalised": question.capitalize()}


def labelled_options(texts: Sequence[Any], labels: Sequence[Any], answer: Any, **listing: str) -> Columns:
    """Options that have labels of their own, as 1 to 4, which become letters.

    Args:
        answer: the label of the right one.
        listing: as of `options`.

    Returns:
        options, listed, right (the letter).
    """
    found, named = options(_listed(texts), **listing), [str(label) for label in _listed(labels)]
    if str(answer) not in named:
        raise ValueError(f"The label {answer} of the right option is not among {', '.join(named)}.")
    return {**found, "right": ascii_uppercase[named.index(str(answer))]}


def marked_question(question: str, given: Any, answer: Any, *images: Any, choose: str, say: str) -> Columns:
    """A question whose words and options name pictures, `<image 2>`, as MMMU is read.

    Args:
        given: its options, none where it is open.
        answer: a letter, or of an open question one text or several.
        images: the pictures that may be named, in the order of their numbers.
        choose, say: what is asked for behind options, and behind an open question.

    Returns:
        asked, with a marker for each picture; images, in the order of the markers; options; right.
    """
    found = options(given)
    several = bool(found["options"])
    asked = "\n".join(filter(None, [question.strip(), found["listed"], choose if several else say]))
    named = [int(number) for number in _MARK.findall(asked)]
    missing = [number for number in named if not 0 < number <= len(images) or images[number - 1] is None]
    if missing:
        raise ValueError(f"It names picture {missing[0]}, and there is none.")
    return {
        "asked": _MARK.sub("<image>", asked),
        "images": [images[number - 1] for number in named],
        "options": found["options"],
        "right": answer if several else written_list(answer),
    }


def _told(there: dict[str, str], style: str, between: str) -> Columns:
    listed = between.join(style.format(letter=letter, text=text) for letter, text in there.items())
    return {"options": there, "listed": listed}


def _listed(value: Any) -> list[Any]:
    found = [] if value is None else written_list(value)
    if not isinstance(found, list):
        raise ValueError(f"A list of options was expected, and {type(value).__name__} found.")
    return found


def _text(value: Any) -> str:
    text = "" if value is None else str(value).strip()
    return "" if text.lower() == _NOTHING else text


OURS = (options, options_with_hint, written_options, labelled_options, marked_question, capitalised)
