"""Numbers in texts, read exactly: thousands separators, fractions, percentages, currencies, units."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from aa_lightning.rewards.wording import plain

_LONGEST = 100  # digits; longer runs are no answers, and Python refuses to read the longest
_NUMBER = re.compile(
    r"""
    (?<![\w.,])                                               # not inside a word or another number
    (?P<sign>-)?[$€£¥₹]?\s?(?P<minus>(?<=[$€£¥₹])-)?
    (?:
        (?P<whole>\d+)\s+(?P<above>\d+)/(?P<below>\d+)        # 3 1/2
      | (?P<number>\d{1,3}(?P<mark>[, ])\d{3}(?:(?P=mark)\d{3})*(?!\d)|\d++)?(?P<part>\.\d++)?+
        (?!\.\d)(?:e(?P<power>[-+]?\d{1,3})(?!\d)|(?!e[-+]?\d))
        (?:\s?/\s?(?P<under>\d+))?
    )
    (?P<percent>\s?\\?%)?
    """,
    re.VERBOSE | re.IGNORECASE,
)
_FRACTION = re.compile(r"\\[dt]?frac\s*\{\s*(-?\d+)\s*\}\s*\{\s*(\d+)\s*\}")


@dataclass(frozen=True)
class Number:
    """A number, or what stands in front of a percent sign."""

    value: Fraction
    percent: bool

    @property
    def exact(self) -> Fraction:
        """50 % is 1/2."""
        return self.value / 100 if self.percent else self.value

    def equals(self, other: Number) -> bool:
        """Compare values; a percent sign may also be a unit, which one may leave out."""
        return self.exact == other.exact or self.value == other.value


def numbers(text: str) -> list[Number]:
    """Read every number of a text in digits, in order."""
    found = (_read(match) for match in _NUMBER.finditer(_written(text)))
    return [number for number in found if number is not None]


def whole(text: str) -> Number | None:
    """Read a text that is a number and nothing else."""
    match = _NUMBER.fullmatch(_written(text).strip().removesuffix("."))
    return None if match is None else _read(match)


def _written(text: str) -> str:
    return _FRACTION.sub(r"\1/\2", plain(text).replace("\\$", "$").replace("\\,", ""))


def _read(match: re.Match[str]) -> Number | None:
    """None: no digit, or too many of them; a division by zero."""
    got = match.groupdict()
    if not (got["number"] or got["part"] or got["whole"]) or len(match[0]) > _LONGEST:
        return None
    below = Fraction(got["below"] or got["under"] or 1)
    if below == 0:
        return None
    if got["whole"]:
        value = Fraction(got["whole"]) + Fraction(got["above"]) / below
    else:
        digits = (got["number"] or "0").replace(",", "").replace(" ", "")
        value = Fraction(f"{digits}{got['part'] or ''}") * Fraction(10) ** int(got["power"] or 0) / below
    return Number(-value if got["sign"] or got["minus"] else value, bool(got["percent"]))
