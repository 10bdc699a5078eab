"""What docs/benchmarks.md shows works as it is typed."""

import json
import re
import shlex
import sys

import pytest

from aa_lightning import evaluate
from tests.data.support import ROOT

PAGE = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w+) (.+?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_a_benchmark_of_ones_own_is_one_file(tmp_path, monkeypatch, capsys):
    for _, name, text in FENCE.findall(PAGE):
        if name != "run":
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text, encoding="utf-8")
    (command,) = [text for _, name, text in FENCE.findall(PAGE) if name == "run"]
    monkeypatch.chdir(tmp_path)
    typed = [*shlex.split(command)[3:], "hydra.run.dir=run", "trainer.accelerator=cpu"]
    monkeypatch.setattr(sys, "argv", ["evaluate", *typed])
    with pytest.raises(SystemExit) as ended:
        evaluate.main()
    assert ended.value.code == 0, capsys.readouterr().err
    told = json.loads((tmp_path / "run" / "evaluation.json").read_text())["benchmarks"]["capitals/letter_infer"]
    assert (told["n"], list(told["groups"]["where"])) == (2, ["south", "west"])
