"""docs/data.md: its table is that of conf/data, its recipes do what they say."""

import os
import re
import runpy
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from PIL import Image

from aa_lightning.assembly.data import data_options, read_examples
from aa_lightning.configuration.check import check_config
from aa_lightning.configuration.composed import composed
from aa_lightning.configuration.folders import conf_dir
from aa_lightning.data.template.schema import Select

from .support import asked, said

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w+) ?(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILES = {name: text for _, name, text in FENCE.findall(PAGE) if name and name != "run"}
COMMANDS = [text.strip() for language, name, text in FENCE.findall(PAGE) if (language, name) == ("sh", "run")]


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with the files that the page shows."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "photos").mkdir()
    for name in ("table", "chair"):
        Image.new("RGB", (32, 32), "red").save(tmp_path / "photos" / f"{name}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def examples(folder, name, *overrides):
    cfg = composed("check", [f"data={name}", *overrides], [conf_dir(), folder / "my_conf"])
    check_config(cfg)
    return read_examples(data_options(cfg), "train", "preference")


def test_the_table_is_that_of_the_files():
    generate = runpy.run_path(str(ROOT / "docs" / "generate.py"))
    assert generate["page"](PAGE) == PAGE, "type: make docs"
    assert PAGE.count("\n| `") > 90


def test_every_word_of_the_mapping_language_is_explained():
    words = {field.name.rstrip("_") for field in fields(Select)}
    assert {word for word in words if f"`{word}`" not in PAGE} == set()


def test_a_file_with_known_columns_needs_no_yaml(workplace):
    found = examples(workplace, "local", "data.train.path=pairs.jsonl", "data.val_share=null")
    assert [(asked(e), said(e.chosen)) for e in found] == [
        ("[red]What is on the table?", "A red cup."),
        ("[red]And on the chair?", "Nothing."),
    ]


def test_a_data_set_of_ones_own_is_one_file(workplace):
    found = examples(workplace, "judged", "data.val_share=null")
    assert [(asked(e), said(e.chosen)) for e in found] == [
        ("[red]Where is the cup?", "On the table."),
        ("[red]Is it red?", "Yes."),
    ]
    assert [(d.row, d.column) for d in found.dropped] == [("2", "winner")]


def test_a_function_of_ones_own_makes_columns(workplace):
    found = examples(workplace, "voted", "data.val_share=null")
    assert [said(e.chosen) for e in found] == ["Coffee.", "Yes."]


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_of_the_page_work_as_they_are_typed(workplace, command):
    paths = f"{ROOT / 'src'}{os.pathsep}"
    typed = command.replace("python -m", f"{sys.executable} -m").replace("PYTHONPATH=.", f"PYTHONPATH={paths}.")
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(typed, shell=True, cwd=workplace, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "preference rows train" in done.stdout
