"""Texts made comparable: one spelling, words, and the part of a text that states its answer. Texts of any script."""

from __future__ import annotations

import re
import unicodedata

_MINUS = dict.fromkeys(map(ord, "‐‑‒–−"), "-")
_ARABIC = {ord("٫"): ".", ord("٬"): ",", 0x0640: None, 0x0670: None} | dict.fromkeys(range(0x064B, 0x0653))
_APOSTROPHES = dict.fromkeys(map(ord, "'’ʼ`"))
_ONE_BY_ONE = ((0x3040, 0x30FF), (0x3400, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))  # scripts without spaces
_SIGNS = "#%&@/\\"  # punctuation that means something: C# is not C, and/or is not and or
_GROUPED = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")
_TRAILING = re.compile(r"(?<=\d)(\.\d*?)0+(?!\d)")
_ANNOUNCED = re.compile(
    r"####|\b(?:answer|option|choice)\s*(?:is\b|:|=)|答案\s*(?:是|为|為|:|：)"
    r"|(?:الجواب|الإجابة|الاجابة)\s*(?:هو|هي|:)",
    re.IGNORECASE,
)
_TAG = re.compile(r"<answer>", re.IGNORECASE)
_CLOSING_TAG = re.compile(r"</answer>", re.IGNORECASE)
_BOX = re.compile(r"\\boxed\{")
_MOST = 8  # boxes that are read
_JOIN = re.compile(r"\W*(?:or|and|或|和|أو|و)?\W*", re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？؟])|\n+")
_REASON = re.compile(r"\s+because\b|,?因为", re.IGNORECASE)
_ALTERNATIVE = re.compile(r"\b(?:or|maybe|perhaps|alternatively|أو)\b|还是|或", re.IGNORECASE)
_NEGATION = re.compile(r"\b(?:not|never|neither|nor|cannot|ليس|ليست)\b|n['’]t\b|不是|并非", re.IGNORECASE)


def plain(said: str) -> str:
    """Write a text in one spelling: compatible characters alike, ASCII digits, `-` for every minus, no Arabic vowel signs."""
    spelled = "".join(map(_spelled, said)).translate(_MINUS).translate(_ARABIC)
    return unicodedata.normalize("NFKC", spelled).replace("⁄", "/")


def words(said: str) -> list[str]:
    """List the words, numbers and signs of a text in small letters; punctuation is left out, and 1,234.50 is 1234.5.

    A minus stays at its number. Chinese and Japanese characters are words of their own.
    """
    text = plain(said).casefold().translate(_APOSTROPHES)
    text = _TRAILING.sub(
        lambda found: found[1].rstrip("."), _GROUPED.sub(lambda found: found[0].replace(",", ""), text)
    )
    neighbours = zip(f" {text}", text, f"{text[1:]} ", strict=False)
    return "".join(_spaced(before, char, after) for before, char, after in neighbours).split()


def announced(said: str) -> str | None:
    r"""Return what a text calls its answer, or None: what stands in <answer> tags, in \boxed{}, or behind `####`, `answer is`
    or `answer:` in English, Chinese or Arabic, up to the end of the sentence or a reason. The last one counts, with those
    that are joined to it."""
    tagged = _TAG.split(said)[1:]
    if tagged:
        inside = _CLOSING_TAG.split(tagged[-1], maxsplit=1)[0]
        return announced(inside) or inside.strip()
    boxes = boxed(said)
    if boxes:
        return ", ".join(said[start:end] for start, end in _joined(said, boxes))
    marks = [match.span() for match in _ANNOUNCED.finditer(said)]
    if not marks:
        return None
    first = next(end for start, end in marks if not _SENTENCE_END.search(said, start, marks[-1][0]))
    sentence = _SENTENCE_END.split(said[first:].replace("**", "").strip(), maxsplit=1)[0]
    return _REASON.split(sentence, maxsplit=1)[0]


def sentences(said: str) -> list[str]:
    """Split a text into sentences and lines."""
    return [sentence for sentence in _SENTENCE_END.split(said) if sentence.strip()]


def wavers(stated: str) -> bool:
    """Tell whether an answer leaves another one open, or says what it is not."""
    return bool(_ALTERNATIVE.search(stated) or _NEGATION.search(stated))


def boxed(said: str) -> list[tuple[int, int]]:
    r"""Locate the contents of the last few \boxed; at the end of the text where its braces are never closed."""
    found = []
    for box in [*_BOX.finditer(said)][-_MOST:]:
        depth, end = 1, box.end()
        while depth and end < len(said):
            depth += (said[end] == "{") - (said[end] == "}")
            end += 1
        found.append((box.end(), end if depth else end - 1))
    return found


def _spelled(char: str) -> str:
    """One character; 3½ becomes 3 1/2 and 10² becomes 10^2, which the usual compatible forms would make 31/2 and 102."""
    if unicodedata.category(char) == "Nd":
        return str(unicodedata.decimal(char))
    form = unicodedata.decomposition(char)
    if form.startswith("<fraction>"):
        return f" {unicodedata.normalize('NFKC', char)}"
    return f"^{unicodedata.normalize('NFKC', char)}" if form.startswith("<super>") else char


def _spaced(before: str, char: str, after: str) -> str:
    """A character of a word as it is, one that is a word by itself between spaces, any other as a space."""
    if (char in ".," and before.isdecimal() and after.isdecimal()) or (
        char == "-" and after.isdecimal() and not before.isalnum()
    ):
        return char
    kind = unicodedata.category(char)[0]
    if kind in "LMN":
        alone = any(low <= ord(char) <= high for low, high in _ONE_BY_ONE)
        return f" {char} " if alone else char
    return f" {char} " if kind == "S" or char in _SIGNS else " "


def _joined(said: str, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The last span and those before it with nothing but `or`, `and` or a comma between."""
    kept = spans[-1:]
    for start, end in reversed(spans[:-1]):
        if not _JOIN.fullmatch(said[end : kept[0][0]].replace("\\boxed{", "")):
            break
        kept.insert(0, (start, end))
    return kept
