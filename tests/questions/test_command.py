"""`python -m aa_lightning.evaluate benchmark=…`, from the configuration to the table."""

import json

import pytest

from aa_lightning import evaluate
from aa_lightning.configuration.compose import compose
from aa_lightning.configuration.folders import conf_dir
from aa_lightning.configuration.help import page
from aa_lightning.configuration.typed import check_options
from aa_lightning.configuration.wording import ConfigError
from tests.questions.support import NAMES, written


def evaluated(folder, *overrides):
    typed = ["trainer.accelerator=cpu", "loader.eval_batch_size=8", *overrides]
    return evaluate.evaluate_benchmarks(compose(typed, "evaluate"), folder)


def test_benchmarks_of_a_model_are_a_table_a_file_of_numbers_and_one_of_answers(tmp_path, capsys):
    file = written("pope", tmp_path)
    chosen = ["benchmark=[pope,shapes_ti2t]", f"benchmark.pope.data.path={file}", "benchmark.shapes_ti2t.limit=20"]
    value = evaluated(tmp_path / "run", *chosen, "model=tiny_llava")
    told = json.loads((tmp_path / "run" / "evaluation.json").read_text())["benchmarks"]
    assert list(told) == ["pope/yesno_pope", "shapes_ti2t/identity"]
    assert value == told["pope/yesno_pope"]["value"] == told["pope/yesno_pope"]["metrics"]["macro_f1"]
    assert {"main", "value", "interval", "chance", "n", "n_missing", "n_unparsed", "extractor", "groups"} <= set(
        told["pope/yesno_pope"]
    )
    assert [told[name]["n"] for name in told] == [4, 20]
    shown = capsys.readouterr().out
    assert "pope macro_f1 ↑" in shown and "pope by category" in shown and "adversarial" in shown
    answers = tmp_path / "run" / "samples" / "shapes_ti2t.jsonl"
    before = answers.read_bytes()
    assert len(before.splitlines()) == 20
    answers.write_bytes(b"".join(before.splitlines(keepends=True)[:7]) + b'{"id": "9", "sa')  # killed there
    evaluated(tmp_path / "run", *chosen, "model=tiny_llava")
    assert answers.read_bytes() == before


def test_what_cannot_work_is_said_before_weights_load(tmp_path, monkeypatch):
    monkeypatch.setattr("aa_lightning.assembly.benchmarks.build_chat_policy", None)
    with pytest.raises(ValueError, match="benchmark=shapes_ta2t: .* type a model= that reads audio"):
        evaluated(tmp_path, "benchmark=shapes_ta2t", "model=tiny_llava")
    with pytest.raises(ValueError, match="main=f1 is none of the numbers of aggregate: there is mean"):
        evaluated(tmp_path, "benchmark=shapes_t2t", "benchmark.shapes_t2t.main=f1", "model=tiny_qwen2")
    with pytest.raises(FileNotFoundError, match=r"type: benchmark.mme.data.path=<file or folder>"):
        evaluated(tmp_path, "benchmark=mme", "benchmark.mme.data.path=none.jsonl", "model=tiny_llava")


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("benchmark=[pope,shape_ti2t]", "did you mean benchmark=shapes_ti2t?"),
        ("benchmark=popee", "did you mean benchmark=pope?"),
    ],
)
def test_a_typo_is_answered_with_what_is_meant(typed, told):
    with pytest.raises(ConfigError) as refused:
        check_options([typed], "evaluate", [conf_dir()])
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("+benchmark.pope.limitt=4", "did you mean benchmark.pope.limit=4"),
        ("benchmark.pope.extract=yesno_pop", "yesno_pope"),
        ("benchmark.pope.direction=up", "higher"),
        ("benchmark.pope.group_by=[split]", "template.keep"),
        ("benchmark.pope.max_new_tokens=0", "benchmark.pope.max_new_tokens"),
    ],
)
def test_a_mistyped_key_of_a_benchmark_is_refused(typed, told):
    with pytest.raises(ConfigError) as refused:
        compose(["benchmark=pope", typed], "evaluate")
    assert told in str(refused.value)


def test_it_belongs_to_evaluate_alone():
    with pytest.raises(ConfigError, match="type: python -m aa_lightning.evaluate benchmark=pope"):
        check_options(["benchmark=pope"], "train", [conf_dir()])


def test_help_lists_benchmarks_by_what_they_tell_and_shows_each(tmp_path):
    text = page(["benchmark"], "evaluate", "", [conf_dir()])
    assert all(f"benchmark={name} " in text for name in NAMES)
    assert text.index("\nhallucination\n") < text.index("benchmark=pope ") < text.index("\ntext\n")
    told = page(["benchmark=pope"], "evaluate", "", [conf_dir()])
    assert "benchmark.pope.max_new_tokens=16" in told
    assert told.splitlines()[-1] == "type: python -m aa_lightning.evaluate benchmark=pope model=llava_1_5_7b"
    assert "takes" in page(["benchmark.pope.limit", "benchmark=pope"], "evaluate", "", [conf_dir()])
