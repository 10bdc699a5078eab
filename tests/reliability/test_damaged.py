"""Files of a run folder that were cut, emptied or changed afterwards: named, never a traceback, and never taken for whole."""

import csv
import json
import random
import shutil
import zipfile

import pytest

from aa_lightning.report import write_report
from aa_lightning.report.sweep import table, write_sweep
from aa_lightning.runs.checkpoints import check_whole, damage, newest, seal, step_of
from aa_lightning.runs.reader import find_runs, frame
from aa_lightning.training.callbacks.csv_logger import MetricsCsv
from tests.reliability.forked import Command
from tests.reliability.killing import rows_of
from tests.reliability.lives import RUN, check_equal

DAMAGES = {
    "emptied": lambda content, draw: b"",
    "cut": lambda content, draw: content[: draw.randrange(1, max(2, len(content)))],
    "a byte changed": lambda content, draw: _changed(content, draw),
    "noise": lambda content, draw: draw.randbytes(len(content)),
    "another type": lambda content, draw: b"[1, 2]\n",
    "nothing": lambda content, draw: b"null\n",
    "no keys": lambda content, draw: b"{}\n",
}
FILES = [
    "summary.json",
    "metrics.csv",
    "config.yaml",
    ".hydra/overrides.yaml",
    ".hydra/hydra.yaml",
    ".hydra/config.yaml",
]


def _changed(content, draw):
    place = draw.randrange(len(content))
    return content[:place] + bytes([content[place] ^ (1 << draw.randrange(8))]) + content[place + 1 :]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    process = Command("aa_lightning.train", [*RUN, f"hydra.run.dir={folder}"])
    _, err = process.communicate()
    assert process.returncode == 0, err
    return folder


@pytest.fixture
def run(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "run")  # its files are small


def spoil(path, how, seed=0):
    path.write_bytes(DAMAGES[how](path.read_bytes(), random.Random(f"{path.name} {how} {seed}")))


def go_on(folder, *more):
    process = Command("aa_lightning.train", [f"resume={folder}", *more])
    _, err = process.communicate()
    return process.returncode, err


# ---------------------------------------------------------------- checkpoints


@pytest.mark.parametrize("how", ["emptied", "cut", "noise"])
def test_a_damaged_checkpoint_is_found(run, how):
    assert damage(newest(run)) is None
    spoil(newest(run), how)
    assert damage(newest(run))


def test_each_changed_byte_of_a_tensor_is_found(run):
    """The bytes between the parts of the archive, which nothing reads, are left out."""
    path = newest(run)
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        parts = [info for info in archive.infolist() if info.file_size]
    draw = random.Random(0)
    for _ in range(30):
        part = draw.choice(parts)
        name, extra = (int.from_bytes(content[part.header_offset + k :][:2], "little") for k in (26, 28))
        place = part.header_offset + 30 + name + extra + draw.randrange(part.file_size)
        path.write_bytes(content[:place] + bytes([content[place] ^ (1 << draw.randrange(8))]) + content[place + 1 :])
        assert "have changed since it was written" in damage(path)


def test_a_shard_that_changed_or_went_is_found(tmp_path):
    checkpoint = tmp_path / "step_00000003.ckpt"
    (checkpoint / "checkpoint").mkdir(parents=True)
    shards = [checkpoint / "checkpoint" / f"{rank}.pt" for rank in range(2)]
    for shard in shards:
        shard.write_bytes(random.Random(0).randbytes(1000))
    assert damage(checkpoint) is None
    seal(checkpoint)
    assert damage(checkpoint) is None
    spoil(shards[1], "a byte changed")
    assert "checkpoint/1.pt have changed" in damage(checkpoint)
    shards[1].unlink()
    assert "checkpoint/1.pt is missing" in damage(checkpoint)


def test_without_an_older_one_a_run_is_offered_its_beginning(tmp_path):
    (tmp_path / "step_00000003.ckpt").touch()
    with pytest.raises(
        ValueError, match=r"(?s)resume=x cannot use step_00000003.ckpt: it is empty; no other.*at its begin"
    ):
        check_whole(tmp_path / "step_00000003.ckpt", "resume=x")


def test_a_start_from_a_damaged_one_takes_nothing_away(tmp_path):
    (tmp_path / "step_00000003.ckpt").touch()
    with pytest.raises(ValueError, match="init=<another run folder, export folder or .ckpt>") as refused:
        check_whole(tmp_path / "step_00000003.ckpt", "init=x")
    assert "rm " not in str(refused.value)


def test_what_is_typed_after_a_damaged_checkpoint_goes_on_from_the_older_one_to_the_bit(run, whole):
    last = newest(run)
    spoil(last, "cut")
    code, err = go_on(run)
    older = sorted(last.parent.glob("*.ckpt"))[0]
    assert code == 1 and "Traceback" not in err
    assert f"cannot use {last.name}: it was cut off" in err and f"{older.name} is whole" in err
    assert f"type: rm -r {last}, and the same command again, to go on after step {step_of(older)}" in err
    assert not (run / "error.txt").exists() or "Traceback" not in err
    last.unlink()
    code, err = go_on(run)
    assert code == 0, err
    check_equal(run, whole)


# ---------------------------------------------------------------- what a run says of itself


def looked_at(folder):
    """Everything that reads a run folder, in this process: an answer, or a sentence that names it."""
    for look in (write_report, lambda f: frame(find_runs(f)), lambda f: table(find_runs(f)), write_sweep):
        try:
            look(folder)
        except ValueError as error:
            assert str(folder) in str(error), error


@pytest.fixture
def without_curves(monkeypatch):
    """Drawing takes seconds, and reads what the tables read."""
    monkeypatch.setattr("aa_lightning.report.curves_section", lambda run: "")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", DAMAGES)
def test_looking_at_a_damaged_run_gives_an_answer_or_names_the_file(run, name, how, without_curves):
    whole = (run / name).read_bytes()
    for seed in range(2):
        (run / name).write_bytes(whole)
        spoil(run / name, how, seed)
        looked_at(run)


def test_a_damaged_summary_is_written_again(run, whole):
    spoil(run / "summary.json", "cut")
    code, err = go_on(run)
    assert code == 0, err
    found, expected = (json.loads((folder / "summary.json").read_text()) for folder in (run, whole))
    assert found["after"] == pytest.approx(expected["after"]) and found["steps"] == expected["steps"]


def test_damaged_rows_of_a_log_are_left_out_and_told(run, capsys):
    lines = (run / "metrics.csv").read_text().splitlines(keepends=True)
    (run / "metrics.csv").write_text("".join([*lines[:3], "\x00garbage,,\n", *lines[4:]]))
    log = MetricsCsv(run / "metrics.csv")
    assert "1 rows are damaged" in capsys.readouterr().out
    log.log_metrics({"train/loss": 0.5}, 100)
    with (run / "metrics.csv").open(newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == [
            *(line.split(",")[0] for line in [*lines[1:3], *lines[4:]]),
            "100",
        ]


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", DAMAGES)
def test_going_on_with_a_damaged_run_works_or_names_what_is_wrong(run, name, how):
    spoil(run / name, how)
    for module, typed in (("train", f"resume={run}"), ("evaluate", f"run={run}"), ("generate", f"run={run}")):
        more = (
            [] if module == "train" else [f"output={run.parent}", *(["prompt=hello"] if module == "generate" else [])]
        )
        process = Command(f"aa_lightning.{module}", [typed, *more], cwd=run.parent)
        _, err = process.communicate()
        assert "Traceback" not in err, err
        assert process.returncode == 0 or err.startswith("error: "), err
    assert rows_of(run) is not None
