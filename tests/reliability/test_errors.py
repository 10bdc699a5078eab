"""Mistakes that show only once data and weights are looked at: one sentence that says what to type, no traceback."""

import json
import shutil
import sys

import pytest
from PIL import Image

from aa_lightning import train as command
from tests.reliability.support import SHAPES, SHORT, TINY, TRAIN, call

GOOD = {"prompt": "What is this?", "images": ["good.png"], "chosen": "It is red.", "rejected": "It is blue."}
ANSWER = {"prompt": "What is this?", "response": "It is red."}
FILES = {  # rows of which the fourth is special
    "good": (GOOD, {}),
    "columns": ({"ask": "What?", "chosen": "Red it is.", "rejected": "Blue it is."}, {}),
    "label": ({**ANSWER, "label": True}, {"label": "maybe"}),
    "broken": (GOOD, {"images": ["broken.png"]}),
    "gone": (GOOD, {"images": ["goood.png"]}),
    "answers": (ANSWER, {}),
}
TEMPLATE = "data.template={kind: preference, prompt: [{text: ask}], responses: [best, worst], preferred: first}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("data")
    Image.new("RGB", (28, 28), "red").save(path / "good.png")
    (path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and nothing that is a picture")
    for name, (row, special) in FILES.items():
        rows = [{**row, **special} if number == 3 else row for number in range(12)]
        (path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (path / "one.jsonl").write_text(json.dumps(GOOD))
    (path / "file").write_text("")
    return path


def fails(monkeypatch, capsys, tmp_path, *typed):
    """What the command says on its standard error, but for progress bars."""
    sizes = [] if "data=local" in typed else SHAPES
    monkeypatch.setattr(sys, "argv", ["train", *SHORT, *sizes, f"output={tmp_path}", *typed])
    with pytest.raises(SystemExit) as ended:
        command.main()
    said = capsys.readouterr().err
    assert ended.value.code == 1, said
    lines = [line for line in said.replace("\r", "\n").splitlines() if line and "row/s]" not in line]
    text = "\n".join(lines[next(k for k, line in enumerate(lines) if line.startswith("error: ")) :])
    assert "Traceback" not in said
    assert len(text) < 700, text
    return text


def local(name):
    """A file of the user's own; the held-out rows are among the first ten."""
    return ["data=local", f"data.train.path={{folder}}/{name}.jsonl", "data.val_share=0.3", "algo=dpo"]


CASES = {
    "a column that is not there": (
        [*local("columns"), TEMPLATE],
        ["column 'best'", "ask, chosen, rejected"],
    ),
    "no column for the prompt": (local("columns"), ["row ", "column 'chosen'", "call that column prompt"]),
    "a label outside its encoding": (
        [*local("label"), "algo=sft"],
        ["row 3, column 'label'", "maybe", "data.on_bad_row=skip"],
    ),
    "a file that is no image": (
        [*local("broken"), "loader.batch_size=8"],
        ["row 3, column 'images'", "broken.png' are no image", "set data.on_bad_row=skip"],
    ),
    "a file that is no picture, in a data worker": (
        [*local("broken"), "loader.batch_size=8", "loader.workers=1"],
        ["row 3, column 'images'", "broken.png' are no image", "set data.on_bad_row=skip"],
    ),
    "a picture that is not there": (
        local("gone"),
        ["row 3, column 'images'", "There is no image file ", "goood.png'", "`root`", "data.on_bad_row=skip"],
    ),
    "a prompt over the limit": (
        [*local("good"), "loader.max_prompt_tokens=5"],
        ["column 'prompt': The prompt has ", "the limit is 5", "loader.max_prompt_tokens="],
    ),
    "one row, which cannot be held out": (
        local("one"),
        ["1 row cannot be both trained on and held out", "+data.val.path=<file>"],
    ),
    "a reward model of a diffusion model": (
        ["algo=reward_model", "modality=t2i"],
        ["reads hidden states of a token model", "type a token model, for example model=tiny_llava"],
    ),
    "pairs wanted of demonstrations": (
        local("answers"),
        ["learns from preference rows, and the data set has demonstration rows only", "algo=sft"],
    ),
    "an extra that is not installed": (
        ["model.quantization=nf4"],
        ["model.quantization=nf4 needs bitsandbytes", "pip install 'aa_lightning[quantization]'"],
    ),
    "a run folder that cannot be made": (
        ["output={folder}/file"],
        ["the run folder cannot be written", "type: output="],
    ),
    "a start that does not exist": (
        ["init=outputs/nothing"],
        ["init=outputs/nothing does not exist", "init=<run folder>"],
    ),
    "a model folder that does not exist": (
        ["model.path=/no/such/folder"],
        ["model.path=/no/such/folder is a folder that does not exist", "model=tiny_llava"],
    ),
    "a model that is not on the hub": (
        ["model.path=nobody/nothing"],
        ["model.path=nobody/nothing cannot be loaded", "type model.path=<folder>"],
    ),
    "a mistyped file of rows": (
        ["data=local", "data.train.path={folder}/god.jsonl"],
        ["there is no ", "god.jsonl", "did you mean good.jsonl"],
    ),
    "a loss that is not a number": (
        ["optimizer.lr=1e30", "trainer.max_steps=4"],
        ["the loss is ", "at step ", "on rows ", "lower optimizer.lr", "resume=<run folder>"],
    ),
    "a layer that adapters do not find": (
        ["model.lora.rank=2", "model.lora.target=nonsense"],
        ["model.lora.target='nonsense' matches no linear layer", "vision, projector, language"],
    ),
    "another algorithm of an adapter's reference": (
        ["model.reference=adapter"],
        ["there is no adapter", "model.lora.rank=16"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_said_in_a_sentence_with_what_to_type(case, folder, tmp_path, monkeypatch, capsys):
    typed, phrases = CASES[case]
    said = fails(monkeypatch, capsys, tmp_path, *(item.replace("{folder}", str(folder)) for item in typed))
    assert [phrase for phrase in phrases if phrase not in said] == [], said


def test_resuming_with_another_model_is_refused_and_spoils_nothing(tmp_path, monkeypatch, capsys):
    """The refused attempt must not become what the run remembers of itself."""
    run = tmp_path / "run"
    monkeypatch.setattr(sys, "argv", ["train", *TINY, "modality=ti2t", "algo=dpo", f"hydra.run.dir={run}"])
    _ends_well()
    said = fails(monkeypatch, capsys, tmp_path, f"resume={run}", "model=tiny_qwen2_5_vl", "trainer.max_steps=3")
    assert "was made with model.family=llava" in said and "model.family=qwen2_5_vl" in said
    assert "init=<run folder>" in said
    said = fails(monkeypatch, capsys, tmp_path, f"resume={run}", "algo=sft", "trainer.max_steps=3")
    assert "algo._target_=aa_lightning.algos.preference" in said
    monkeypatch.setattr(sys, "argv", ["train", f"resume={run}", "trainer.max_steps=3"])
    _ends_well()
    assert json.loads((run / "summary.json").read_text())["steps"] == 3
    assert not (run / ".hydra_resumed").exists()
    shutil.rmtree(run / "checkpoints")
    said = fails(monkeypatch, capsys, tmp_path, f"resume={run}")
    assert "its checkpoints are gone" in said and f"init={run}" in said


def _ends_well():
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 0


def test_a_folder_that_is_no_run_cannot_be_resumed(tmp_path, monkeypatch, capsys):
    said = fails(monkeypatch, capsys, tmp_path, f"resume={tmp_path}")
    assert "is no run folder" in said and "type: resume=outputs/<date>/<run>" in said


@pytest.mark.slow
def test_two_processes_say_a_mistake_once(folder, tmp_path):
    typed = [*TINY, f"output={tmp_path}", "strategy=ddp", "trainer.precision=32-true", "optimizer.lr=1e30"]
    code, _, err = call(TRAIN, *typed, "trainer.max_steps=4")
    assert code == 1
    assert err.count("error: ") == 1
    assert "rank " in err and "of 2: the loss is " in err
    assert "Traceback" not in err
