"""HTML without a template engine: tags that escape what they hold, and one page that needs nothing from outside.

Text of others becomes part of a page here alone: as a child or an attribute of a `tag`, or as an `address`.
"""

from __future__ import annotations

import html
import math
import os
from collections.abc import Iterable
from pathlib import Path, PurePath
from urllib.parse import quote

from aa_lightning.system.shown import printable

_VOID = {"img", "meta", "br"}
_STYLE = Path(__file__).with_name("style.css")
# what a page may load and do, whatever stands in it: media inside it or beside it; no script, frame, form or address
_POLICY = "default-src 'none'; img-src data: 'self' file:; media-src data: 'self' file:; style-src 'unsafe-inline'"
_POLICY += "; base-uri 'none'; form-action 'none'"


class Html(str):
    """Text that is HTML already. Every other string is escaped when it enters a tag."""

    __slots__ = ()


def escape(text: object) -> str:
    """Text inside an element or an attribute's quotes."""
    return html.escape(printable(text))


def address(path: PurePath) -> str:
    """A link to a file beside the page, and to nothing else: a colon would begin another scheme."""
    return quote(os.fsencode(path.as_posix()))


def tag(name: str, /, *children: str | None, **attributes: str | bool | None) -> Html:
    """An element. `class_` gives the attribute class, `text_anchor` text-anchor; True has no value, None is left out."""
    given = {key.rstrip("_"): value for key, value in attributes.items() if value is not None and value is not False}
    named = {key.replace("_", "-"): value for key, value in given.items()}
    opening = "".join(f" {key}" if value is True else f' {key}="{escape(value)}"' for key, value in named.items())
    if name in _VOID:
        return Html(f"<{name}{opening}>")
    return Html(f"<{name}{opening}>{join(children)}</{name}>")


def join(children: Iterable[str | None]) -> Html:
    """Children one after another; plain strings are escaped."""
    return Html("".join(child if isinstance(child, Html) else escape(child) for child in children if child is not None))


def section(title: str, *children: str | None) -> Html:
    return tag("section", tag("h2", title), *children)


def table(head: Iterable[str], rows: Iterable[Iterable[str]], class_: str | None = None) -> Html:
    """A table that scrolls by itself where it is wider than the page."""
    header = tag("thead", tag("tr", *(tag("th", cell) for cell in head)))
    body = tag("tbody", *(tag("tr", *(tag("td", cell) for cell in row)) for row in rows))
    return tag("div", tag("table", header, body, class_=class_), class_="scroll")


def page(title: str, *body: str | None) -> Html:
    """A whole document with its style inside: no script, no font, no address outside of the page."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Html(_STYLE.read_text(encoding="utf-8"))),
    )
    return Html(f'<!doctype html>\n<html lang="en">{head}{tag("body", tag("main", *body))}</html>\n')


def number(value: float) -> str:
    """A number as people read it: four significant digits, no needless exponent, a minus that is as wide as a plus."""
    if math.isnan(value):
        return "–"
    plain = value == 0 or 1e-3 <= abs(value) < 1e3
    text = f"{value:.4g}" if plain else f"{value:,.0f}" if 1e3 <= abs(value) < 1e6 else f"{value:.3g}"
    return text.replace("-", "−")
