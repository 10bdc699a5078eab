"""Rows as strangers may send them, drawn from a seed: intact ones with something in them changed.

Each is a data set of three rows, of which the middle one is hostile; everything is made when it is asked for.
"""

from __future__ import annotations

import copy
import csv
import io
import json
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from .hostile_media import BOMBS, cut, intact, spoiled, stuffed, swapped

# fmt: off
PAIR = {"prompt": "What is it?", "chosen": "A cup.", "rejected": "A cat."}
TURNS = [{"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "A cup."}]
BASES = (
    (PAIR, "preference"),
    ({"prompt": "Why?", "response": "So."}, "demonstration"),
    ({"prompt": "Why?", "completion": "So.", "label": True}, "rating"),
    ({"messages": TURNS}, "demonstration"),
)
EXTRA = ("image", "images", "audio", "audios", "video", "videos", "system", "tools", "answer")
TURN_KEYS = ("role", "content", "tool_calls", "name", "from", "value", "image", "loss", "weight", "reasoning_content")
SCORED = {"prompt": "What is it?", "answers": ["A cup.", "A cat.", "A dog."], "scores": [3, 2.5, 1]}
ASKED = [{"text": "prompt"}]
MAPPINGS: dict[str, dict[str, Any]] = {  # of what is not recognised from the columns
    "archive": {
        "kind": "demonstration", "prompt": [{"image": "jpg"}], "completion": "txt",
        "keep": {"more": {"column": "json", "optional": True}},
    },
    "scores": {"kind": "ranking", "prompt": ASKED, "answers": "answers", "ratings": {"all": "scores"}},
    "ranks": {"kind": "preference", "prompt": ASKED, "answers": "answers", "preferred": {"ranks": "scores"}},
    "function": {
        "kind": "rating", "prompt": ASKED, "completion": "chosen", "label": "desirable",
        "function": {"name": "mean_at_least", "columns": ["margin", "margin"], "arguments": {"least": 0.5}},
    },
}
NAN, INF = float("nan"), float("inf")
NUMBERS = (NAN, INF, -INF, "nan", "inf", "-inf", True, None, "", [], {}, 10**400, "x", [1], "1e999", "1_0", "0x10")


def _deep(levels: int) -> Any:
    value: Any = 1
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


VALUES = (
    *NUMBERS, False, 0, -1, 3.5, 10**30, "  ", "\0", "a\0b", "\ud800", "x\udfffy", "true", "NULL", "٣", "{x}", "%s", "{}",
    [[]], [None], [{}], [1, 2], ["a"], [["a"]], {"a": 1}, {"": ""}, [0.5] * 1000, _deep(50), _deep(150), _deep(600),
    "[" * 3000, "[[" * 400 + "]]" * 400, "-" * 3000, "[" + "-" * 5000 + "1]", "[" + "0," * 5000 + "]", "a" * 1_500_000,
    "<image>" * 50, "<|im_end|>", "../../etc/hosts", "/dev/zero", "/dev/stdin", "a" * 5000, "a/" * 2000,
    "data:image/png;base64,", "data:,", "data:image/png;base64,%%%", "file:///dev/zero", "http://127.0.0.1:9/x.png",
    {"path": None}, {"path": 3}, {"bytes": 3}, {"bytes": "x"}, {"path": {"path": {"path": "x"}}}, {"url": 5},
    {"array": "x", "sampling_rate": "y"}, {"array": [[1], [1, 2]], "sampling_rate": 16000},
    {"array": [1e300] * 9, "sampling_rate": 16000}, {"array": [0.1] * 9, "sampling_rate": 1.5},
    {"array": [0.1] * 9, "sampling_rate": NAN}, {"array": [NAN] * 9, "sampling_rate": 16000},
    {"frames": []}, {"frames": 3, "fps": 2}, {"frames": ["x"], "fps": NAN}, {"type": "image"}, [{"type": [], "text": "x"}],
    [{"type": "image_url", "image_url": {"url": []}}], [{"type": "text", "text": {"text": "x"}}],
)
LINES = (
    b'{"prompt": "a", "prompt": "b", "chosen": "x", "rejected": "y"}', b'{"prompt": {"a": 1, "a": 2}, "chosen": "x"}',
    b'{"prompt": "\\ud800", "chosen": "x", "rejected": "y"}', b'{"prompt": "\xff\xfe", "chosen": "x", "rejected": "y"}',
    b'{"prompt": "' + b"a" * 3_000_000 + b'", "chosen": "x", "rejected": "y"}', b'{"prompt": ' + b"9" * 5000 + b"}",
    b'{"prompt": [' + b"0," * 1_900_000 + b"0]}", b'{"prompt": [' + b"[]," * 499_000 + b"0]}",
    b"{" + b",".join(b'"%d":0' % i for i in range(99_000)) + b"}", b'{"prompt": ["' + b'","' * 1_900_000 + b'"]}',
    json.dumps({"chosen": "a " * 400_000 + "b", "rejected": "a " * 400_000 + "c"}).encode(),
    b'{"prompt": "x", "image": "data:image/png;base64,' + b"A" * 60_000_000 + b'", "chosen": "x", "rejected": "y"}',
    b'{"prompt": ' + b"[" * 900 + b"]" * 900 + b"}", b"[" * 100_000,
    b'{"a":' * 100_000, b'{"\\ud800": 1, "prompt": "a", "chosen": "x", "rejected": "y"}', b'{"\\u0000": "a"}',
    b"null", b"3", b'"x"', b"[]", b"{}", b"NaN", b"\0" * 50,
)
CELLS = (
    b'"two,x,y\r\n', b"two x y\r\n", b"\xff\xfetwo,x,y\r\n", b"two,x,y,4,5\r\n", b"\0,\0,\0\r\n", b"two,,\r\n",
    b'"a"b"c",x,y\r\n', b"=1+1,x,y\r\n", b"a" * 200_000 + b",x,y\r\n", b"a" * 2_000_000 + b",x,y\r\n",
)
NAMES = (
    "../outside.png", "link.png", "x/../../outside.png", "loop.png", "", ".", "..", "/", "a\0b", "\ud800", 5, [], {}, True,
    ["good.png"], "a" * 300, "good.png/x", "~/x", "$HOME/x", "good.png",
)
# fmt: on


@dataclass
class Hostile:
    """A data set on disk: its file, the kind that is asked for, what was done to the middle row, the mapping's name."""

    path: Path
    wanted: str
    told: str
    mapping: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)  # of data.train
    leads_out: bool = False  # of the folder that media must lie in


def draw(seed: int, folder: Path) -> Hostile:
    """The hostile data set of a seed, written to a folder of its own."""
    rng = Random(seed)
    folder.mkdir(parents=True)
    make = rng.choice([media, media, media, values, values, turns, numbers, lines, tables, archives, names])
    return make(rng, folder)


def bomb(name: str, folder: Path) -> Hostile:
    """The data set with one of the media that are large once they are decoded."""
    folder.mkdir(parents=True)
    medium, make = BOMBS[name]
    hostile = _with_medium(folder, medium, make(), name)
    if name.startswith("many"):
        many = {**PAIR, f"{medium}s": ["bad"] * 50}
        _rows(folder, PAIR, many, PAIR)
    return hostile


def media(rng: Random, folder: Path) -> Hostile:
    return _with_medium(folder, *spoiled(rng))


def _with_medium(folder: Path, medium: str, content: bytes, told: str) -> Hostile:
    good = {"image": "image PNG", "audio": "audio WAV", "video": "video mp4"}[medium]
    (folder / "good").write_bytes(intact()[good][1])
    (folder / "bad").write_bytes(content)
    return Hostile(_rows(folder, *({**PAIR, medium: name} for name in ("good", "bad", "good"))), "preference", told)


def values(rng: Random, folder: Path) -> Hostile:
    """One cell or two of the columns that are recognised hold anything at all."""
    base, wanted = rng.choice(BASES)
    columns = [*base, *rng.sample(EXTRA, rng.randrange(3)), *(["margin"] if wanted == "preference" else [])]
    bad = dict(base)
    for column in rng.sample(columns, min(len(columns), rng.randint(1, 2))):
        bad[column] = rng.choice(VALUES)
    return Hostile(_rows(folder, base, bad, base), wanted, f"odd values: {bad!r:.90}")


def turns(rng: Random, folder: Path) -> Hostile:
    """Something inside of a conversation is anything at all; sometimes it is written out as JSON."""
    said = copy.deepcopy([{"role": "system", "content": "Short."}, *TURNS, *TURNS])
    for turn in rng.sample(said, rng.randint(1, 2)):
        turn[rng.choice(TURN_KEYS)] = rng.choice(VALUES)
        if rng.random() < 0.2:
            turn.pop(rng.choice(list(turn)))
    if rng.random() < 0.3:
        said[rng.randrange(len(said))] = rng.choice(VALUES)
    bad = {"messages": json.dumps(said) if rng.random() < 0.3 else said}
    return Hostile(_rows(folder, {"messages": TURNS}, bad, {"messages": TURNS}), "demonstration", "odd turns")


def numbers(rng: Random, folder: Path) -> Hostile:
    """Scores, ranks and ratings that are no finite numbers, or not as many as there are answers."""
    mapping, odd = rng.choice(["scores", "ranks", "function"]), rng.choice([*NUMBERS, *VALUES])
    if mapping == "function":
        base, bad, wanted = {**PAIR, "margin": 1.0}, {**PAIR, "margin": odd}, "rating"
    else:
        value = rng.choice([odd, [odd, 2, 1], [3, odd, odd], [3, 2], [3, 2, 1, 0], [[3], [2], [1]]])
        base, bad, wanted = SCORED, {**SCORED, "scores": value}, {"scores": "ranking", "ranks": "preference"}[mapping]
    return Hostile(_rows(folder, base, bad, base), wanted, f"odd numbers: {bad!r:.90}", mapping)


def lines(rng: Random, folder: Path) -> Hostile:
    """A line of a JSON file that is no such thing."""
    good = json.dumps(PAIR).encode()
    more = [good + good, good[:-1] + b",}", b"\xef\xbb\xbf" + good, good.decode().encode("utf-16"), swapped(rng, good)]
    bad = rng.choice([*LINES, *more, cut(rng, good) + b" "])
    (folder / "rows.jsonl").write_bytes(b"\n".join([good, bad, good]))
    return Hostile(folder / "rows.jsonl", "preference", f"a line: {bad[:60]!r}")


def tables(rng: Random, folder: Path) -> Hostile:
    """A table whose middle line is spoiled."""
    file = io.StringIO()
    csv.writer(file).writerows([list(PAIR), *([said, "x", "y"] for said in ("one", "two", "three"))])
    head, one, two, three = file.getvalue().encode().splitlines(keepends=True)
    bad = rng.choice([*CELLS, swapped(rng, two)])
    (folder / "rows.csv").write_bytes(head + one + bad + three)
    return Hostile(folder / "rows.csv", "preference", f"a table's line: {bad[:60]!r}")


def archives(rng: Random, folder: Path) -> Hostile:
    """A tar shard with a spoiled member, a spoiled name or a spoiled byte."""
    name = rng.choice(["b", "b\udcff", "../b", "/b", "b" * 90, "b\n", "é"])
    good = {"jpg": intact()["image JPEG"][1], "txt": b"A cup.", "json": b'{"a": 1}'}
    spoilt = rng.choice(list(good))
    bad = {**good, spoilt: rng.choice([cut, swapped, stuffed])(rng, good[spoilt])}
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", errors="surrogateescape") as tar:
        for stem, files in (("a", good), (name, bad), ("c", good)):
            for ending, content in files.items():
                member = tarfile.TarInfo(f"{stem}.{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    whole = file.getvalue()
    (folder / "rows.tar").write_bytes(swapped(rng, whole) if rng.random() < 0.3 else whole)
    return Hostile(folder / "rows.tar", "demonstration", f"an archive with {name!r} and a spoilt {spoilt}", "archive")


def names(rng: Random, folder: Path) -> Hostile:
    """A folder with metadata, or rows below a root, that name files elsewhere, or none."""
    inside, outside = folder / "inside", folder / "outside.png"
    inside.mkdir()
    for path in (outside, inside / "good.png"):
        path.write_bytes(intact()["image PNG"][1])
    (inside / "link.png").symlink_to(outside)
    (inside / "loop.png").symlink_to(inside / "loop.png")
    name = rng.choice([*NAMES, str(outside), f"file://{outside}"])
    leads_out = "outside" in str(name) or name == "link.png"
    column, told = rng.choice(["file_name", "image"]), f"a file called {name!r}"
    rows = [{**PAIR, column: said} for said in ("good.png", name, "good.png")]
    if column == "file_name":
        _rows(inside, *rows).rename(inside / "metadata.jsonl")
        return Hostile(inside, "preference", told, leads_out=leads_out)
    return Hostile(_rows(folder, *rows), "preference", told, None, {"root": str(inside)}, leads_out)


def _rows(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path
