"""Reading one row through selectors: every value that leaves here is of the type asked for, or the row is bad."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from numbers import Real
from random import Random
from typing import Any

from aa_lightning import media
from aa_lightning.data.errors import BadRow, LeftOut, described
from aa_lightning.data.sources import cells
from aa_lightning.data.sources.written import fault_of, parse
from aa_lightning.data.template import paths
from aa_lightning.data.template.allowed import ANYTHING, Allowed
from aa_lightning.data.template.schema import PartOptions, Select, Selector, select
from aa_lightning.types import Part, text

_MOST_MEDIA = 10_000  # of one cell, or frames of one clip
_NO_NUMBER = ("", "n/a", "na", "none", "null", "nan")
_TRUE, _FALSE = ("true", "yes", "1", "1.0", "t", "y"), ("false", "no", "0", "0.0", "f", "n")


class Reader:
    """One row, read through selectors.

    Args:
        row: column to value.
        row_id: names the row in errors and seeds `one_of`.
        drop: the drop rules of the template.
        allowed: what rows may name and hold.
    """

    def __init__(self, row: Mapping[str, Any], row_id: str, drop: Sequence[str] = (), allowed: Allowed = ANYTHING):
        self.row, self.id, self.drop, self.allowed = row, row_id, drop, allowed

    # ------------------------------------------------------------ faults

    def bad(self, column: str, reason: str) -> BadRow:
        return BadRow(self.id, column, reason)

    def unwanted(self, rule: str, column: str, reason: str, dropped: bool = False) -> BadRow:
        """A fault that a drop rule may declare as wanted."""
        if dropped or rule in self.drop:
            return LeftOut(self.id, column, reason)
        return self.bad(
            column, f"{reason} Add `{rule}` to `drop` in the template to leave such rows out, named and counted."
        )

    # ------------------------------------------------------------ values

    def value(self, selector: Selector) -> Any:
        """Read a selector, of any type; None where it is null."""
        if isinstance(selector, str):
            return self.sound(self._at(selector), selector)
        value = self.sound(self._operated(selector, self._origin(selector)), name(selector))
        if selector.number:
            return self.number(value, name(selector))
        return value

    def sound(self, value: Any, column: str) -> Any:
        """A value without texts, keys or depths that nothing could be learnt from."""
        fault = fault_of(value)
        if fault is not None:
            raise self.bad(column, fault)
        return value

    def text(self, selector: Selector) -> str:
        """A text; numbers are written out."""
        return self.as_text(self.value(selector), name(selector))

    def text_or_nothing(self, selector: Selector) -> str:
        """A text; null is an empty one."""
        value = self.value(selector)
        return "" if value is None else self.as_text(value, name(selector))

    def if_given(self, selector: Selector) -> Any:
        """Read a selector; None where it is optional and the row does not say."""
        if self._absent(selector):
            return None
        value = self.value(selector)
        return None if isinstance(selector, Select) and selector.optional and cells.is_empty(value) else value

    def text_if_given(self, selector: Selector) -> str | None:
        """A text; None where it is optional and the row does not say."""
        value = self.if_given(selector)
        if value is None and isinstance(selector, Select) and selector.optional:
            return None
        return self.as_text(value, name(selector))

    def number(self, value: Any, column: str) -> float:
        """A number, also out of a text; true and false are none."""
        try:
            if isinstance(value, bool):
                raise TypeError
            found = float(value)
        except (TypeError, ValueError, OverflowError):
            raise self.bad(column, f"A number was expected, and {described(value)} found.") from None
        if not isfinite(found):
            raise self.bad(column, f"A finite number was expected, and {described(value)} found.")
        return found

    def rating(self, value: Any, column: str) -> float | None:
        """A number, or None where none was given (`N/A`)."""
        if value is None or (isinstance(value, str) and value.strip().lower() in _NO_NUMBER):
            return None
        return self.number(value, column)

    def truth(self, selector: Selector) -> bool:
        """A boolean, the numbers 0 and 1, or a word that means one of them."""
        return self.truth_of(self.value(selector), selector)

    def truth_of(self, value: Any, selector: Selector) -> bool:
        """Convert what was read with a selector to a boolean. A word that is neither true nor false is a fault."""
        told = select(selector)
        words = {str(value).strip().casefold()}
        if isinstance(value, Real) and value in (0, 1):
            words |= {str(int(value)), str(bool(value)).casefold()}
        for meaning, own, usual in ((True, told.true_values, _TRUE), (False, told.false_values, _FALSE)):
            if words & {one.casefold() for one in (usual if own is None else own)}:
                return meaning
        raise self.bad(
            name(selector),
            f"True or false was expected, and {described(value)} found. Write `{{column: {name(selector)}, "
            "true_values: [...], false_values: [...]}` to say which texts mean what.",
        )

    def elements(self, selector: Selector) -> list[Any]:
        """A list, perhaps written out in a text."""
        value = self.value(selector)
        found = cells.written_list(value)
        if not isinstance(found, list):
            raise self.bad(name(selector), f"A list was expected, and {described(value)} found.")
        return self.sound(found, name(selector))

    def tools(self, selector: Selector) -> list[dict[str, Any]] | None:
        """The tools that a model may call, perhaps written out as JSON; None where the row has none."""
        if self._absent(selector):
            return None
        value = self.sound(cells.written_list(self.value(selector)), name(selector))
        if cells.is_empty(value):
            return None
        listed = value if isinstance(value, list) else [value]
        tools = [self._parsed(tool, name(selector)) if isinstance(tool, str) else tool for tool in listed]
        if not all(isinstance(tool, Mapping) for tool in tools):
            raise self.bad(name(selector), f"A list of tools was expected, and {described(value)} found.")
        return tools

    def parts(self, options: Sequence[PartOptions]) -> list[Part]:
        """The text and media parts of a prompt or an answer, media undecoded, with the column they come from."""
        return [part for option in options for part in self._parts_of(option)]

    def media_part(self, kind: str, value: Any, selector: Selector) -> Part:
        """An undecoded media part; the faults that show without decoding are raised here."""
        located = self._clip(value, selector) if kind == "video" else self._located(value, selector)
        part = {"type": kind, kind: located, "column": name(selector)}
        try:
            media.check(part)
        except media.MediaError as error:
            raise self.bad(part["column"], str(error)) from error
        return part

    def text_part(self, value: Any, column: str) -> Part:
        """A text part that says something."""
        content = self.as_text(value, column)
        if not content.strip():
            raise self.unwanted("empty", column, "The text is empty.")
        return text(content)

    # ------------------------------------------------------------ inside

    def _parts_of(self, option: PartOptions) -> list[Part]:
        if option.text is not None:
            return self._text_parts(option.text)
        kind, selector = option.medium, option.selector
        if kind is None:
            raise self.bad("messages", "A list of turns cannot stand inside an answer that has other parts.")
        optional = isinstance(selector, Select) and selector.optional
        if self._absent(selector):
            return []
        value = self.value(selector)
        found = cells.listed(kind, value)
        if not found and not optional:
            if isinstance(value, list):
                raise self.bad(name(selector), f"The list of media is empty: there is no {kind}.")
            found = [value]
        self._check_count(found, selector)
        return [self.media_part(kind, element, selector) for element in found]

    def _clip(self, value: Any, selector: Selector) -> Any:
        """A clip, whose frames may be files of their own."""
        framed = isinstance(value, Mapping) and isinstance(value.get("frames"), list)
        frames = value["frames"] if framed else value
        if not isinstance(frames, list) or not all(map(cells.is_picture, frames)):
            return self._located(value, selector)
        self._check_count(frames, selector)
        located = [self.media_part("image", frame, selector)["image"] for frame in frames]
        return {**value, "frames": located} if framed else located

    def _check_count(self, found: list[Any], selector: Selector) -> None:
        if len(found) > _MOST_MEDIA:
            raise self.bad(name(selector), f"There are {len(found)} media; {_MOST_MEDIA} of a row are read at most.")

    def _text_parts(self, selector: Selector) -> list[Part]:
        if self._absent(selector):
            return []
        content = self.text(selector)
        if isinstance(selector, Select) and selector.skip_empty and not content.strip():
            return []
        return [self.text_part(content, name(selector))]

    def _absent(self, selector: Selector) -> bool:
        """Tell whether an optional selector finds nothing."""
        if isinstance(selector, str) or not selector.optional:
            return False
        if selector.column is None:
            return False
        try:
            return not paths.has(self.row, selector.column) or paths.look_up(self.row, selector.column) is None
        except KeyError:  # the path leads nowhere in this row
            return True

    def _at(self, path: str) -> Any:
        if not paths.has(self.row, path):
            raise self.bad(
                path,
                f"There is no such column; the columns are {', '.join(self.row)}. Write one of them in the template.",
            )
        try:
            return paths.look_up(self.row, path)
        except KeyError as error:
            raise self.bad(path, error.args[0]) from error

    def _origin(self, selector: Select) -> Any:
        if selector.column is not None:
            return None if self._absent(selector) else self._at(selector.column)
        if selector.first_of is not None:
            present = [column for column in selector.first_of if paths.has(self.row, column)]
            return self._at(present[0] if present else selector.first_of[0])
        if selector.join is not None:
            return self._joined(selector)
        if selector.format is not None:
            return selector.format.format(**{key: self.text(field) for key, field in selector.fields.items()})
        return Random(self.id).choice(selector.one_of)

    def _joined(self, selector: Select) -> str:
        if isinstance(selector.join, str):
            texts = [self.as_text(element, selector.join) for element in self.elements(selector.join)]
        else:
            texts = ["" if self._absent(field) else self.text(field) for field in selector.join]
        return selector.with_.join(t for t in texts if t.strip() or not selector.skip_empty)

    def _operated(self, selector: Select, value: Any) -> Any:
        if selector.json_:
            value = self._parsed(value, name(selector))
        if selector.get is not None:
            value = self._got(value, selector.get, name(selector))
        if selector.after is not None:
            value = self._behind(self.as_text(value, name(selector)), selector.after, name(selector))
        if selector.remove or selector.replace or selector.strip or selector.lower or selector.then is not None:
            value = self._cleaned(self.as_text(value, name(selector)), selector)
        return value

    def _parsed(self, value: Any, column: str) -> Any:
        try:
            return self.sound(parse(value), column)
        except BadRow:
            raise
        except (TypeError, ValueError) as error:
            raise self.bad(column, f"JSON was expected, and {described(value)} found ({error}).") from error

    def _got(self, value: Any, path: str, column: str) -> Any:
        if not isinstance(value, Mapping):
            raise self.bad(column, f"Keys and values were expected, and {described(value)} found.")
        try:
            return paths.look_up(value, path)
        except KeyError as error:
            raise self.bad(column, error.args[0]) from error

    def _behind(self, value: str, mark: str, column: str) -> str:
        if mark not in value:
            raise self.bad(column, f"The text has no {mark!r}: {described(value)}.")
        return value.rpartition(mark)[2]

    def _cleaned(self, value: str, selector: Select) -> str:
        for old in selector.remove:
            value = value.replace(old, "")
        for old, new in selector.replace.items():
            value = value.replace(old, new)
        value = value.strip() if selector.strip else value
        value = value.lower() if selector.lower else value
        return value if selector.then is None else value + self.text(selector.then)

    def as_text(self, value: Any, column: str) -> str:
        """A value as text; numbers are written out."""
        if isinstance(value, Real) and not isinstance(value, bool):
            self.number(value, column)  # not NaN, which stands for a text that is not there
            value = str(value)
        if isinstance(value, str):
            if len(value) > self.allowed.characters:
                raise self.bad(
                    column,
                    f"The text has {len(value)} characters; the limit is {self.allowed.characters} (data.max_characters).",
                )
            return self.sound(value, column)
        if value is None:
            raise self.unwanted("empty", column, "The text is null.")
        raise self.bad(column, f"A text was expected, and {described(value)} found.")

    def _located(self, value: Any, selector: Selector) -> Any:
        try:
            return self.allowed.medium(value, select(selector))
        except ValueError as error:
            raise self.bad(name(selector), str(error)) from error


def name(selector: Selector) -> str:
    """The column that a selector reads, for errors."""
    if isinstance(selector, str):
        return selector
    if selector.column is not None:
        return selector.column
    if selector.first_of is not None:
        return selector.first_of[0]
    if selector.join is not None:
        return selector.join if isinstance(selector.join, str) else ", ".join(map(name, selector.join))
    return ", ".join(map(name, selector.fields.values())) or "one_of"
