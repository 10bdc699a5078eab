"""Pictures, sounds and clips of samples as elements of a page. What else a sample may name is neither shown nor linked."""

from __future__ import annotations

import base64
import re
from pathlib import Path

from aa_lightning.report.page import Html, address, tag
from aa_lightning.runs.reader import Run

EMBEDDED_FILE = 4 * 2**20  # bytes; a larger media file is linked, not embedded
EMBEDDED_PAGE = 48 * 2**20  # bytes of media in one page; what comes later is linked
_KINDS = {  # by ending: what a browser shall take the file for, and how such a file begins
    ".png": ("image/png", rb"\x89PNG\r\n\x1a\n"),
    ".jpg": ("image/jpeg", rb"\xff\xd8\xff"),
    ".jpeg": ("image/jpeg", rb"\xff\xd8\xff"),
    ".gif": ("image/gif", rb"GIF8[79]a"),
    ".webp": ("image/webp", rb"RIFF.{4}WEBP"),
    ".wav": ("audio/wav", rb"RIFF.{4}WAVE"),
    ".flac": ("audio/flac", rb"fLaC"),
    ".ogg": ("audio/ogg", rb"OggS"),
    ".mp3": ("audio/mpeg", rb"ID3|\xff[\xe2-\xfb]"),
    ".mp4": ("video/mp4", rb".{4}ftyp"),
    ".webm": ("video/webm", rb"\x1a\x45\xdf\xa3"),
}
_BEGINNING = 16  # bytes that tell


class Media:
    """Media files as elements: embedded while they are small and the page is not yet large, linked otherwise."""

    def __init__(self, run: Run):
        self.run = run
        self.left = EMBEDDED_PAGE

    def element(self, kind: str, name: str) -> Html:
        """`<img>` (also of an animated picture), `<audio>` or `<video>` of a media file of the run."""
        path = self.run.media(name)
        if path is None:
            return tag("p", f"{kind} {name} is missing", class_="missing")
        mime = media_type(path)
        if mime is None:
            return tag("p", f"{kind} {name} is not shown: it is no {', '.join(_KINDS)} file", class_="missing")
        link = source = address(path.relative_to(self.run.folder.resolve()))
        size = path.stat().st_size
        if size <= min(EMBEDDED_FILE, self.left):
            self.left -= size
            source = f"data:{mime};base64,{base64.b64encode(path.read_bytes()).decode()}"
        element = mime.partition("/")[0]
        if element == "image":
            return tag("a", tag("img", src=source, alt=name, loading="lazy"), href=link, title=name)
        return tag(element, src=source, controls=True, preload="metadata", title=name)


def media_type(path: Path) -> str | None:
    """Recognise a file by its ending and its first bytes; None where they disagree, or it is nothing that pages show."""
    mime, beginning = _KINDS.get(path.suffix.lower(), ("", rb"(?!)"))
    with path.open("rb") as file:
        return mime if re.match(beginning, file.read(_BEGINNING), re.DOTALL) else None
