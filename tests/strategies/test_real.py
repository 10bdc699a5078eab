"""Real runs, built as the command builds them: every strategy trains, exports and resumes as one process does."""

import json
import os
import sys
from pathlib import Path

import pytest
import soundfile
import torch
from PIL import Image
from safetensors.torch import load_file

from aa_lightning.data.shapes import Shapes
from aa_lightning.media.audio import Sound
from aa_lightning.media.video import Clip
from aa_lightning.system.processes import run_workers
from tests.reliability.support import ask_alone
from tests.strategies import real
from tests.strategies.real import FAMILIES, VARIANTS

ROOT = Path(__file__).parents[2]
STRATEGIES = ["ddp", "fsdp", "deepspeed_zero1", "deepspeed_zero2", "deepspeed_zero3"]
MIXED = [name for name in VARIANTS if name.startswith("mixed")]
FAST = [
    ("ddp", "mixed_llava"),
    ("fsdp", "mixed_llava"),
    ("deepspeed_zero3", "lora"),
    ("fsdp", "kept"),
    ("fsdp", "grpo"),
    ("ddp", "pictures_grpo"),
]
LONG = [name for name in VARIANTS if name.startswith("long")]
APART = ["bfloat16", *LONG]
SHARDED = ["fsdp", "deepspeed_zero2", "deepspeed_zero3"]
ALL = [(strategy, variant) for strategy in STRATEGIES for variant in VARIANTS if variant not in [*APART, *FAMILIES]]
ALL += [(strategy, family) for strategy in SHARDED for family in FAMILIES]
CASES = [case if case in FAST else pytest.param(*case, marks=pytest.mark.slow) for case in ALL]
MEASURED = ["-".join(case) for case in ALL]


class Runs:
    """What `tests/strategies/real.py` found: this process for each variant, two for each strategy."""

    def __init__(self, folder: Path, wanted: list[tuple[str, str]]):
        self.folder, self.results = folder, {}
        self.rows = mixed_rows(folder / "rows")
        heard_rows(folder / "rows")
        real.main(*self._typed("alone", [("single", variant) for _, variant in wanted]))
        command = [sys.executable, "-W", "ignore", "-m", "tests.strategies.real", *self._typed("together", wanted)]
        path = f"{ROOT / 'src'}{os.pathsep}{ROOT}"
        run_workers(command, 2, env={"PYTHONPATH": path}, cwd=ROOT, timeout=60 + 60 * len(wanted))
        for name in ("alone", "together"):
            self.results |= json.loads((self.folder / name / "results.json").read_text())

    def _typed(self, name: str, cells: list[tuple[str, str]]) -> list[str]:
        return [str(self.folder / name), str(self.rows), *dict.fromkeys("/".join(cell) for cell in cells)]

    def export(self, strategy: str, variant: str) -> Path:
        where = "alone" if strategy == "single" else "together"
        return self.folder / where / strategy / variant / "export"

    def weights(self, strategy: str, variant: str) -> dict[str, torch.Tensor]:
        found = {}
        for path in sorted(self.export(strategy, variant).rglob("*.safetensors")):
            found |= {f"{path.name}/{name}": value for name, value in load_file(path).items()}
        return found


def mixed_rows(folder: Path) -> Path:
    """Twenty-four pairs, every second one about a picture."""
    folder.mkdir()
    shapes = Shapes(modality="ti2t", size=24, seed=3, image_size=28)
    lines = []
    for number in range(len(shapes)):
        row, pictures = shapes[number], []
        if number % 2 == 0:
            pictures = [f"{number}.png"]
            row["image"]().save(folder / pictures[0])
        lines.append(json.dumps({**{k: row[k] for k in ("prompt", "chosen", "rejected")}, "images": pictures}))
    (folder / "rows.jsonl").write_text("\n".join(lines))
    return folder / "rows.jsonl"


def heard_rows(folder: Path) -> None:
    """Twenty-four pairs about a picture, nothing, a sound, nothing, a clip, nothing, and so on."""
    worlds = {
        "image": Shapes(modality="ti2t", size=24, seed=3, image_size=28),
        "audio": Shapes(modality="ta2t", size=24, seed=3),
        "video": Shapes(modality="tv2t", size=24, seed=3, image_size=28),
    }
    lines = []
    for number in range(24):
        medium = list(worlds)[number // 2 % 3]
        row = worlds[medium][number]
        shown = _saved(row[medium](), folder / f"heard{number}") if number % 2 == 0 else None
        columns = {name: shown if name == medium else None for name in worlds}
        lines.append(json.dumps({**{k: row[k] for k in ("prompt", "chosen", "rejected")}, **columns}))
    (folder / "heard.jsonl").write_text("\n".join(lines))


def _saved(content: Image.Image | Sound | Clip, path: Path) -> str:
    """A file of a picture, a sound or a clip; its name."""
    if isinstance(content, Sound):
        path = path.with_suffix(".wav")
        soundfile.write(path, content.samples, content.rate)
        return path.name
    path = path.with_suffix(".png")
    first, *rest = [Image.fromarray(frame) for frame in content.frames] if isinstance(content, Clip) else [content]
    first.save(path, save_all=bool(rest), append_images=rest, duration=500)
    return path.name


@pytest.fixture(scope="module")
def runs(request, tmp_path_factory):
    """All cells that this session asks for, one after another in the same two processes."""
    asked = {item.callspec.id for item in request.session.items if "runs" in getattr(item, "fixturenames", ())}
    wanted = [cell for cell, name in zip(ALL, MEASURED, strict=True) if asked & {name, cell[1]}]
    return Runs(tmp_path_factory.mktemp("real"), wanted)


def each(function):
    return pytest.mark.parametrize(("strategy", "variant"), CASES, ids=MEASURED)(function)


@each
def test_losses_equal_those_of_one_process(runs, strategy, variant):
    """AdamW, clipped, accumulated; each step of the same rows. The mixed variants have steps where one process has a
    picture and the other none: 20 of them end without a hang and give what one process gives with both rows in a batch.
    """
    alone, found = (runs.results[name][variant]["losses"] for name in ("single", strategy))
    assert found == pytest.approx(alone, abs=1e-5)
    assert len(found) == (20 if variant in MIXED else 5)
    assert max(alone) - min(alone) > 1e-3


@each
def test_the_export_equals_that_of_one_process(runs, strategy, variant):
    alone, found = runs.weights("single", variant), runs.weights(strategy, variant)
    assert alone.keys() == found.keys()
    for name, value in alone.items():
        assert (found[name] - value).abs().max() < 1e-5, name


@each
def test_the_held_out_numbers_equal_those_of_one_process(runs, strategy, variant):
    """Answers included, which every rank draws by itself with all weights at hand."""
    alone, found = (runs.results[name][variant]["heldout"] for name in ("single", strategy))
    assert found["after"] == pytest.approx(alone["after"], abs=1e-3)


@each
def test_the_reference_says_the_same_before_and_after(runs, strategy, variant):
    found, alone = (runs.results[name][variant]["reference"] for name in (strategy, "single"))
    if variant.endswith(("sft", "reward", "grpo", "ppo", "prime")):
        assert found == []
        return
    before, after = found
    assert before == after
    assert torch.tensor(before) == pytest.approx(torch.tensor(alone[0]), abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_kept_reference_gives_the_losses_of_one_beside_the_policy(strategy, tmp_path):
    found = Runs(tmp_path, [(strategy, "kept"), (strategy, "dpo")]).results[strategy]
    assert found["kept"]["losses"] == pytest.approx(found["dpo"]["losses"], abs=1e-6)
    assert found["kept"]["heldout"] == found["dpo"]["heldout"]


@each
def test_a_run_resumed_in_its_middle_ends_with_the_same_bits(runs, strategy, variant):
    found = runs.results[strategy][variant]
    assert found["straight"] == found["resumed"]
    assert found["losses"][14 if variant in MIXED else 2 :] == found["losses when resumed"]


@pytest.mark.parametrize("variant", ["dpo", "lora", "reward"])
@pytest.mark.slow
def test_transformers_alone_reads_the_export_of_every_strategy(runs, variant, tmp_path):
    asked = {"kind": "text", "prompt": "What is this?", "pictures": [], "response": [5, 6, 7]}
    questions = [{**asked, "folder": str(runs.export(strategy, variant))} for strategy in ["single", *STRATEGIES]]
    alone, *others = ask_alone(questions, tmp_path)
    for answer in others:
        assert answer == pytest.approx(alone, abs=1e-4)


@pytest.mark.slow
def test_fifty_steps_over_mixed_rows_end_without_a_hang(tmp_path):
    """One process has a picture, the other a text, a sound or a clip: both pass through all towers, in the same order."""
    found = Runs(tmp_path, [(strategy, variant) for strategy in STRATEGIES for variant in LONG]).results
    for variant in LONG:
        alone = found["single"][variant]["losses"]
        assert len(alone) == 50
        for strategy in STRATEGIES:
            assert found[strategy][variant]["losses"] == pytest.approx(alone, abs=1e-4), (strategy, variant)


@pytest.mark.slow
def test_in_bfloat16_policy_and_reference_start_equal_to_the_bit(tmp_path):
    """Frequencies of rotary positions must not be rounded on one side: at position 1000 the angle would be off by 2."""
    found = Runs(tmp_path, [(strategy, "bfloat16") for strategy in STRATEGIES]).results
    for strategy in ["single", *STRATEGIES]:
        assert found[strategy]["bfloat16"]["heldout"]["before"]["heldout/margin"] == 0.0, strategy
        assert found[strategy]["bfloat16"]["losses"][0] == pytest.approx(
            found["single"]["bfloat16"]["losses"][0], abs=0.02
        )
