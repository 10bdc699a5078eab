"""Rewards of a user's own, some of which fail in every way that there is."""

import json
import os
import random
import re
import sys
import time
from pathlib import Path

import numpy as np
import torch

from aa_lightning.rewards.answers import spoken

HANGS = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"  # on which a careless expression takes years


def length(prompt, response, target=3):
    """Minus the distance from a number of words."""
    return -abs(len(spoken(response).split()) - target)


def grouped(prompts, responses):
    return [[float(len(spoken(one))) for one in group] for group in responses]


def counted(prompts, responses, lengths):
    return -lengths


def of_trl(completions, solution, kind, points=1.0, **kwargs):
    """As reward functions of TRL are written: one list of all responses, columns of the rows, and the rest."""
    assert len(completions) == len(solution) == len(kind) == len(kwargs["answer"])
    return [points * (one[0]["content"] == right) for one, right in zip(completions, solution, strict=True)]


def flat_of_texts(prompts, completions):
    return [float(len(one[0]["content"])) for one in completions][:-1]


def slow(prompt, response):
    time.sleep(0.02)
    return 1.0


def broken(prompts, responses):
    raise ValueError("broken here")


def pid(prompts, responses):
    """The process in which it is called."""
    return [[os.getpid() for _ in group] for group in responses]


class Weighed:
    def __init__(self, factor: float):
        self.factor = factor

    def __call__(self, prompt, response):
        return self.factor * len(spoken(response))


def of_torch(prompts, responses):
    return torch.ones(len(prompts), len(responses[0]), dtype=torch.float64)


def draws(prompts, responses):
    """Uses every generator of random numbers that there is."""
    return [[random.random() + np.random.rand() + torch.rand(()).item() for _ in group] for group in responses]


def nothing():
    return 0


class Silent:
    """Makes what cannot be called."""


class Unsayable(Exception):
    def __str__(self):
        raise ValueError("it cannot be said")


def _endless():
    while True:
        try:
            time.sleep(0.01)
        except Exception:
            continue


def _swallowing():
    while True:
        try:
            while True:
                pass
        except:  # noqa: E722 - as careless code does
            if time.monotonic() > _swallowing.until:
                raise


_swallowing.until = 0.0


def _raise(error):
    raise error


WAYS = {
    "value_error": lambda: _raise(ValueError("no good")),
    "key_error": lambda: {}["missing"],
    "zero_division": lambda: 1 / 0,
    "recursion": lambda: WAYS["recursion"](),
    "memory": lambda: np.empty(2**60),
    "exit": lambda: sys.exit(3),
    "assertion": lambda: _raise(AssertionError()),
    "stop": lambda: next(iter([])),
    "unsayable": lambda: _raise(Unsayable()),
    "control": lambda: _raise(ValueError("\x1b[31mred\x07\u202e")),
    "json": lambda: json.loads("{" * 10),
    "os_error": lambda: Path("/nowhere/at/all").read_text(),
    "nan": lambda: float("nan"),
    "inf": lambda: float("inf"),
    "minus_inf": lambda: -np.inf,
    "none": lambda: None,
    "text": lambda: "excellent",
    "list": lambda: [1.0, 2.0],
    "mapping": lambda: {"reward": 1},
    "complex": lambda: 1j,
    "endless": _endless,
    "sleep": lambda: time.sleep(1e6),
    "expression": lambda: re.match(r"(a+)+$", HANGS),
}
TOGETHER = {
    "too_few": lambda prompts, responses: [[1.0] for _ in prompts],
    "flat": lambda prompts, responses: [1.0 for _ in prompts],
    "ragged": lambda prompts, responses: [[1.0] * (n + 1) for n, _ in enumerate(prompts)],
    "nothing": lambda prompts, responses: None,
    "generator": lambda prompts, responses: (one for one in responses),
    "deep": lambda prompts, responses: np.ones((len(prompts), len(responses[0]), 2)),
}


def faulty(prompt, response, way):
    """Fails in this way for the prompts that say so, and gives 1 for others."""
    return WAYS[way]() if prompt.keep.get("fails") else 1.0


def misshapen(prompts, responses, way):
    return TOGETHER[way](prompts, responses)


class Flaky:
    """Fails so many times, then gives 1."""

    def __init__(self, times: int):
        self.left = times

    def __call__(self, prompts, responses):
        if self.left:
            self.left -= 1
            raise ConnectionError("not now")
        return [[1.0 for _ in group] for group in responses]
