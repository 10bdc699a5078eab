"""Text of others (rows, answers, names, errors), made harmless for where it is shown. Pages have `report/page.py`."""

from __future__ import annotations

import re
import sys

_BIDI = "\u202a-\u202e\u2066-\u2069"  # what turns the order of letters around; mere marks of direction may stay
# all control characters but \t \n
_ACTIVE = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f{_BIDI}\u2028\u2029\ud800-\udfff]")
_FORMULA = re.compile("'*[=+\\-@＝＋－＠]")


def printable(text: object) -> str:
    """Text as a terminal, a log or a page shows it: what would steer one of them stands as its escape, `\\x1b`."""
    return _ACTIVE.sub(_escaped, str(text).replace("\r\n", "\n"))


def one_line(text: object) -> str:
    """The same for a cell or a name, which must not go on in another line."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def say_error(message: str) -> int:
    """Print what is wrong to stderr; the exit code that goes with it."""
    print(f"error: {printable(message)}", file=sys.stderr)
    return 1


def inert(cell: object) -> str:
    """A cell of a CSV file in one line, that no spreadsheet takes for a formula: an apostrophe before all but numbers."""
    text = one_line(cell)
    return f"'{text}" if _FORMULA.match(text) and not _is_number(text) else text


def of_inert(cell: str) -> str:
    """The line that a cell was before `inert`."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii() and text == text.strip()
