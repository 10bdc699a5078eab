"""A reference that is read once and kept: the run of one that stands beside the policy, without it."""

import csv
import os
import shutil
import time
from contextlib import suppress
from multiprocessing import Process, get_context
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from aa_lightning.assembly.policy import build_algorithm, build_policy
from aa_lightning.evaluate import evaluate
from aa_lightning.models.token.network import TokenNetwork
from aa_lightning.system.cache import cache_root
from aa_lightning.system.store import Store
from aa_lightning.train import train
from aa_lightning.training.callbacks.keep_reference import KeepReference
from aa_lightning.training.module import AlignmentModule
from tests.contract.support import EASY, composed, config
from tests.reliability.lives import cache_beside

QUICK = [
    *("trainer.max_steps=4", "checkpoint.every_n_steps=2", "checkpoint.keep=9", "loader.batch_size=4"),
    *("evaluation.num_generations=0", "evaluation.num_examples=8", "evaluation.samples=0", "optimizer.lr=1e-3"),
    *("logger.tensorboard=false", "trainer.enable_progress_bar=false", "trainer.log_every_n_steps=1"),
]
KEPT = "model.reference=kept"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache without references, with the tiny models of the other one."""
    (cache_root() / "tiny").mkdir(parents=True, exist_ok=True)  # for all of these tests
    beside = cache_beside(cache_root(), tmp_path / "cache")
    monkeypatch.setenv("AA_LIGHTNING_CACHE", str(beside))
    return beside


class Ran:
    """A run: its summary, its losses, its last weights."""

    def __init__(self, folder: Path, model: str, algo: str, *overrides: str):
        self.folder = folder
        self.summary = train(config(model, algo, *QUICK, *overrides), folder, tell=False)
        rows = csv.DictReader((folder / "metrics.csv").read_text().splitlines())
        self.losses = [float(row["train/loss"]) for row in rows if row["train/loss"]]
        self.weights = torch.load(self.checkpoint(self.summary["steps"]), weights_only=False)["state_dict"]

    def checkpoint(self, step: int) -> Path:
        return self.folder / "checkpoints" / f"step_{step:08d}.ckpt"

    @property
    def responses(self) -> tuple[int, int]:
        """How many were asked for, and how many of them were there."""
        return self.summary["reference"]["responses"], self.summary["reference"]["found"]

    def check_equals(self, other: "Ran") -> None:
        assert self.losses == other.losses
        assert all(torch.equal(value, other.weights[name]) for name, value in self.weights.items())
        assert [self.summary[moment] for moment in ("before", "after")] == [
            other.summary[moment] for moment in ("before", "after")
        ]


@pytest.fixture
def forwards(monkeypatch):
    """Whether each pass through a network was for a gradient."""
    seen, forward = [], TokenNetwork.forward

    def counted(self, *args, **named):
        seen.append(torch.is_grad_enabled())
        return forward(self, *args, **named)

    monkeypatch.setattr(TokenNetwork, "forward", counted)
    return seen


SLOW = pytest.mark.slow
CASES = [
    ("tiny_qwen2", "dpo", ()),
    ("tiny_qwen2", "dpo", ("model.lora.rank=2",)),
    ("tiny_qwen2", "kto", ()),  # of responses to other prompts too
    ("tiny_llava", "mdpo", ()),  # of spoiled prompts too
    pytest.param("tiny_llava", "dpo", ("loader.micro_batch_size=2", "loader.workers=1"), marks=SLOW),
    pytest.param("tiny_llava", "dpo", ("trainer.precision=bf16-mixed",), marks=SLOW),
    pytest.param("tiny_qwen2", "dpo", ("trainer.val_check_interval=2",), marks=SLOW),
    pytest.param("tiny_qwen2_5_vl", "dpo", (), marks=SLOW),
    ("tiny_qwen2_audio", "dpo", ()),
    pytest.param("tiny_llava_next_video", "dpo", (), marks=SLOW),
    ("tiny_emu3", "dpo", ()),
    pytest.param("tiny_janus", "dpo", (), marks=SLOW),
    pytest.param("tiny_chameleon", "dpo", (), marks=SLOW),
    ("tiny_qwen2_5_omni_speech", "dpo", ()),
    pytest.param("tiny_qwen3_omni_speech", "dpo", (), marks=SLOW),
]


@pytest.mark.parametrize(("model", "algo", "options"), CASES)
def test_losses_weights_and_measures_are_those_of_a_reference_beside_the_policy(tmp_path, model, algo, options):
    """To the bit, in the first epoch: rows are read in the batches in which they train."""
    beside = Ran(tmp_path / "beside", model, algo, *options)
    first = Ran(tmp_path / "first", model, algo, *options, KEPT)
    again = Ran(tmp_path / "again", model, algo, *options, KEPT)
    first.check_equals(beside)
    again.check_equals(beside)
    assert beside.summary["reference"] is None
    assert again.responses[0] == again.responses[1] == first.responses[0] > 2 * first.responses[1]


def test_over_several_epochs_losses_differ_by_the_rounding_of_other_batches_alone(tmp_path):
    """Three steps of four rows an epoch, of fourteen rows; from the second on, rows come in other batches."""
    options = ["data.train.size=14", "trainer.max_steps=9"]
    beside, kept = (
        Ran(tmp_path / "beside", "tiny_llava", "dpo", *options),
        Ran(tmp_path / "a", "tiny_llava", "dpo", *options, KEPT),
    )
    assert kept.losses[:3] == beside.losses[:3]
    assert kept.losses == pytest.approx(beside.losses, abs=1e-6)
    divided = Ran(tmp_path / "b", "tiny_llava", "dpo", *options, "loader.micro_batch_size=2", KEPT)
    assert divided.responses[0] == divided.responses[1]
    assert divided.losses == pytest.approx(beside.losses, abs=1e-5)


def test_a_second_run_reads_no_row_for_the_reference_alone(tmp_path, forwards):
    """4 steps, 8 held-out rows in one batch, measured before and after; before training the reference is the policy that is
    measured, or else it is read."""
    Ran(tmp_path / "first", "tiny_qwen2", "dpo", KEPT)
    assert (forwards.count(True), forwards.count(False)) == (4, 4 + 2)
    forwards.clear()
    Ran(tmp_path / "again", "tiny_qwen2", "dpo", KEPT, "algo.beta=0.3", "seed=0")
    assert (forwards.count(True), forwards.count(False)) == (4, 2)
    forwards.clear()
    Ran(tmp_path / "unmeasured", "tiny_qwen2", "dpo", KEPT, "evaluation.before=false")
    assert (forwards.count(True), forwards.count(False)) == (4, 1 + 1)
    forwards.clear()
    Ran(tmp_path / "beside", "tiny_qwen2", "dpo")
    assert (forwards.count(True), forwards.count(False)) == (4, 4 + 2)


def test_no_second_network_is_there(tmp_path):
    cfg = config("tiny_qwen2", "dpo", *QUICK, KEPT)
    policy = build_policy(cfg, build_algorithm(cfg), None)
    assert policy.reference_modules() == []
    assert policy.reference.form == "kept"


@pytest.mark.parametrize("gone", [False, True])
def test_a_resumed_run_ends_with_the_same_bits_even_where_the_kept_values_are_gone(tmp_path, cache, gone):
    whole, cut = (Ran(tmp_path / name, "tiny_qwen2", "dpo", KEPT) for name in ("whole", "cut"))
    cut.checkpoint(4).unlink()
    if gone:
        shutil.rmtree(cache / "references")
    resumed = Ran(tmp_path / "cut", "tiny_qwen2", "dpo", KEPT, f"resume={tmp_path / 'cut'}")
    resumed.check_equals(whole)
    assert (resumed.responses[1] == resumed.responses[0]) is not gone


@pytest.mark.parametrize(("first", "then"), [("auto", "kept"), ("kept", "auto")])
def test_a_run_may_go_on_with_or_without_it(tmp_path, first, then):
    whole = Ran(tmp_path / "whole", "tiny_qwen2", "dpo")
    Ran(tmp_path / "cut", "tiny_qwen2", "dpo", f"model.reference={first}").checkpoint(4).unlink()
    resumed = Ran(tmp_path / "cut", "tiny_qwen2", "dpo", f"model.reference={then}", f"resume={tmp_path / 'cut'}")
    resumed.check_equals(whole)


def test_values_that_vanish_while_a_run_trains_end_it_with_what_to_type(tmp_path, cache, monkeypatch):
    step = AlignmentModule.training_step

    def losing(self, counted, index):
        if index == 2:
            shutil.rmtree(cache / "references")
        return step(self, counted, index)

    monkeypatch.setattr(AlignmentModule, "training_step", losing)
    with pytest.raises(ValueError, match=r"are not in .*references.* type resume=<run folder>"):
        Ran(tmp_path / "run", "tiny_qwen2", "dpo", KEPT)


def test_files_that_were_damaged_are_read_anew(tmp_path, cache):
    first = Ran(tmp_path / "first", "tiny_qwen2", "dpo", KEPT)
    (folder,) = (cache / "references").iterdir()
    os.truncate(folder / "0.sqlite", (folder / "0.sqlite").stat().st_size // 2)
    cut = Ran(tmp_path / "cut", "tiny_qwen2", "dpo", KEPT)
    cut.check_equals(first)
    assert cut.responses[1] < cut.responses[0]
    for file in folder.glob("*.sqlite"):
        file.write_bytes(b"no such thing" * 999)
    strange = Ran(tmp_path / "strange", "tiny_qwen2", "dpo", KEPT)
    strange.check_equals(first)
    assert strange.responses[1] < strange.responses[0]


def started(folder: Path, model: str, *options: str) -> Process:
    """A run in a process of its own, which has imported what it needs."""
    cfg = config(model, "dpo", *QUICK, *options)
    process = get_context("fork").Process(target=train, args=(cfg, folder), kwargs={"tell": False})
    process.start()
    return process


def journals(folder: Path) -> set[tuple[str, int]]:
    """Files that stand beside a database while something is written into it, and since when."""
    found = set()
    for path in folder.glob("*/*-journal"):
        with suppress(FileNotFoundError):
            found.add((str(path), path.stat().st_mtime_ns))
    return found


SEEN = ("model.freeze=[vision]", "model.keep_features=64")  # what frozen towers saw is kept


@pytest.mark.parametrize(
    ("kills", "folder", "model", "options"),
    [
        (3, "references", "tiny_qwen2", (KEPT,)),
        (3, "features", "tiny_llava", SEEN),
        pytest.param(20, "references", "tiny_qwen2", (KEPT,), marks=SLOW),
        pytest.param(20, "features", "tiny_llava", SEEN, marks=SLOW),
    ],
)
def test_two_runs_at_once_and_killed_ones_leave_nothing_wrong(tmp_path, cache, kills, folder, model, options):
    """Kills come while the values of a batch are written, or soon after."""
    for number in range(kills):
        left = journals(cache / folder)  # by those who were killed before
        process = started(tmp_path / f"killed{number}", model, *options)
        while process.is_alive() and journals(cache / folder) <= left:
            time.sleep(1e-3)
        process.kill()
        process.join()
    both = [started(tmp_path / name, model, *options) for name in ("one", "two")]
    for process in both:
        process.join(120)
    assert [process.exitcode for process in both] == [0, 0]
    without = [option for option in options if option != KEPT and "keep_features" not in option]
    beside = Ran(tmp_path / "beside", model, "dpo", *without, "model.keep_features=false")
    kept = Ran(tmp_path / "kept", model, "dpo", *options)
    kept.check_equals(beside)
    assert [*(cache / folder).glob("*/*.sqlite")]
    assert folder == "features" or kept.responses[0] == kept.responses[1]


def test_processes_that_do_not_share_a_cache_are_told_so_before_they_train(tmp_path):
    """The other process has kept a row that is not here."""
    whole = SimpleNamespace(
        barrier=lambda: None, broadcast=lambda mine: b"theirs", reduce_boolean_decision=lambda mine, all: mine
    )
    callback = KeepReference(suite=None, branches=())
    with pytest.raises(ValueError, match="AA_LIGHTNING_CACHE name one that all machines see"):
        callback._tell(SimpleNamespace(strategy=whole), Store(tmp_path / "store"))


@pytest.mark.parametrize(
    ("model", "algo", "why"),
    [
        ("tiny_qwen2", "tr_dpo", "algo.ref_sync moves it: type model.reference=frozen"),
        ("tiny_qwen2", "tdpo1", "reads more of it .* type model.reference=auto"),
        ("tiny_llava", "povid", "reads more of it .* type model.reference=auto"),
        ("tiny_sd", "dpo", "noise is drawn anew each time: type model.reference=auto"),
    ],
)
def test_what_was_not_kept_is_refused_before_weights_load(tmp_path, model, algo, why):
    with pytest.raises(ValueError, match=why):
        train(config(model, algo, *QUICK, KEPT), tmp_path / "run", tell=False)


class ReadsDistributions:
    uses_reference = True

    def __call__(self, policy, batch):
        with policy.as_reference() as reference:
            return reference.log_likelihood(batch, statistic="collision").statistic.mean(), {}


def test_a_class_of_ones_own_that_asks_for_more_is_told_so(tmp_path):
    cfg = config("tiny_qwen2", "dpo", *QUICK, KEPT)
    cfg.algo = {"_target_": f"{__name__}.ReadsDistributions"}
    with pytest.raises(ValueError, match="keeps these alone: type model.reference=auto"):
        train(cfg, tmp_path / "run", tell=False)


def test_an_algorithm_without_a_reference_keeps_none(tmp_path, cache):
    assert Ran(tmp_path / "run", "tiny_qwen2", "simpo", KEPT).summary["reference"] is None
    assert not (cache / "references").exists()


def test_evaluate_reads_the_reference_beside_the_trained_weights(tmp_path):
    kept = Ran(tmp_path / "kept", "tiny_qwen2", "dpo", KEPT)
    asked = [
        "modality=t2t",
        "model=tiny_qwen2",
        "algo=dpo",
        "init=null",
        *EASY["t2t"],
        "data.val.size=64",
        *QUICK,
        KEPT,
    ]
    (tmp_path / "evaluated").mkdir()
    found = evaluate(composed(*asked, f"run={kept.folder}", config_name="evaluate"), tmp_path / "evaluated")
    assert found == pytest.approx(kept.summary["after"], abs=1e-5)
    assert abs(found["heldout/margin"]) > 1e-2
