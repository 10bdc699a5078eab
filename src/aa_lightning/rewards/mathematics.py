r"""Equality of formulas, as math-verify finds it, in a process of its own that is ended when it takes too long.

A few characters of LaTeX can stand for a number with more digits than memory holds, and no signal interrupts its computation.
LaTeX is parsed by a grammar; nothing that a model wrote is evaluated as Python.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooSlow
from functools import cache
from importlib.util import find_spec

from aa_lightning.rewards.wording import plain, sentences, wavers

SECONDS = 5.0  # for one comparison, until its process is ended
_PARSING, _COMPARING = 1, 2  # seconds until the library gives up by itself, where it can be interrupted
_START_SECONDS = 120.0  # for the process to import sympy
_GIB = 2  # of memory for one comparison
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
    return bool(one and other) and max(len(one), len(other)) <= _LONGEST and _process(os.getpid()).equal(one, other)


def _formulas(said: str) -> list[str]:
    return [next(filter(None, match.groups())) for match in _FORMULA.finditer(said)]


def _bare(formula: str) -> str:
    """Without dollar signs, LaTeX brackets and the dot of a sentence."""
    inside = _FORMULA.fullmatch(formula.strip().removesuffix("."))
    bare = next(filter(None, inside.groups())) if inside else formula
    return plain(bare).strip().removesuffix(".").strip()


class _Process:
    """The process that compares; it is started when it is first needed and after each time that it was ended."""

    def __init__(self) -> None:
        self._running: subprocess.Popen[str] | None = None
        self._reader = ThreadPoolExecutor(1)

    def equal(self, one: str, other: str) -> bool:
        """Ask, and end the process where it does not answer in time."""
        try:
            if self._running is None or self._running.poll() is not None:
                self._start()
            print(json.dumps([one, other]), file=self._running.stdin, flush=True)
            return self._line(SECONDS) == "true"
        except (TooSlow, BrokenPipeError):
            self.end()
            return False

    def end(self) -> None:
        """End the process, whatever it does."""
        if self._running is not None:
            self._running.kill()
            self._running.wait()
            self._running = None

    def _start(self) -> None:
        command = [sys.executable, "-W", "ignore", "-m", "aa_lightning.rewards.mathematics"]
        pipe = subprocess.PIPE
        # a session of its own: Ctrl-C is for who asks
        self._running = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, start_new_session=True)
        self._line(_START_SECONDS)

    def _line(self, seconds: float) -> str:
        return self._reader.submit(self._running.stdout.readline).result(timeout=seconds).strip()


@cache
def _process(own: int) -> _Process:
    """The one of a process, whose id is given: a fork cannot share it."""
    made = _Process()
    atexit.register(made.end)
    return made


# ---------------------------------------------------------------- in that process


def _serve() -> None:
    """Answer each line, a JSON list of two formulas, with true or false."""
    _limit_memory()
    logging.disable()  # the library tells of every formula that it cannot read
    print("ready", flush=True)
    for line in sys.stdin:
        try:
            found = _verified(*json.loads(line))
        except (MemoryError, RecursionError):
            found = False
        print(json.dumps(found), flush=True)


def _limit_memory() -> None:
    if sys.platform != "linux":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (_GIB * 2**30, _GIB * 2**30))


def _verified(expected: str, said: str) -> bool:
    from math_verify import LatexExtractionConfig, parse, verify

    def parsed(formula: str) -> list:
        body, percent = (formula[:-1].rstrip("\\ "), "%") if formula.endswith("%") else (formula, "")
        return parse(f"${body}${percent}", [LatexExtractionConfig()], "no_fallback", parsing_timeout=_PARSING)

    return verify(parsed(expected), parsed(said), timeout_seconds=_COMPARING)


if __name__ == "__main__":
    _serve()
