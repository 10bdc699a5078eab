"""A whole training command against TRL's script on the same rows and the same model, each from an empty process."""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from PIL import Image

from aa_lightning.models.tiny.cache import tiny_folder
from benchmarks import machine, subject

ROWS, PICTURE = 200, (640, 480)
LR, BATCH = 1e-6, 2
SIZES = {"tiny": {}, "45M": subject.SIZES}
GOALS = {"tiny": 1.0, "45M": 1.7}  # with 20 steps of the tiny one, and 100 of the other
OURS = (
    *("-m", "aa_lightning.train", "algo=dpo", "algo.nll=0", "modality=ti2t", "init=null", "num_threads=1"),
    *("data=local", f"optimizer.lr={LR}", f"loader.batch_size={BATCH}", "trainer.enable_progress_bar=false"),
)
# what TRL's script does not do either
BARE = ("evaluation.num_examples=0", "logger.tensorboard=false")
TITLES = {"ours": "aa_lightning as it comes", "bare": "aa_lightning, training alone", "trl": "TRL DPOTrainer"}


def write_rows(folder: Path) -> Path:
    """Write pairs of answers about pictures, each a JPEG of noise."""
    draw = torch.Generator().manual_seed(0)
    path = folder / "rows.jsonl"
    with path.open("w") as file:
        for number, pair in enumerate(subject.make_pairs(ROWS, 16, 24)):
            pixels = torch.randint(0, 256, (PICTURE[1] // 16, PICTURE[0] // 16, 3), generator=draw, dtype=torch.uint8)
            Image.fromarray(pixels.numpy()).resize(PICTURE).save(folder / f"{number}.jpg")
            said = {"chosen": pair.chosen[0]["text"], "rejected": pair.rejected[0]["text"]}
            asked = {"prompt": pair.messages[0]["content"][1]["text"], "image": f"{number}.jpg"}
            file.write(json.dumps({**asked, **said}) + "\n")
    return path


def command(side: str, size: str, steps: int, rows: Path) -> list[str]:
    """The command line of a contender, less the interpreter."""
    if side == "trl":
        return ["-m", "benchmarks.commands", "--size", size, "--steps", str(steps), "--train", str(rows)]
    tiny = ",".join(f"{key}:{value}" for key, value in SIZES[size].items())
    options = [f"data.train.path={rows}", f"trainer.max_steps={steps}", f"output={rows.parent / 'runs'}"]
    sizes = [f"+model.tiny={{{tiny}}}"] if tiny else []
    return [*OURS, *sizes, *options, *(BARE if side == "bare" else ())]


def seconds(arguments: list[str]) -> float:
    """Processor seconds of a command and of all that it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    subprocess.run([sys.executable, *arguments], check=True, env=environment, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def train_with_trl(size: str, steps: int, path: Path) -> None:
    """Run the script that a user of TRL writes: the rows as a data set, a frozen copy as the reference, the model saved."""
    from datasets import Dataset, Features, List, Value
    from datasets import Image as ImageFeature
    from transformers import AutoProcessor, LlavaForConditionalGeneration
    from trl import DPOConfig, DPOTrainer

    torch.set_num_threads(1)
    model = str(tiny_folder("llava", SIZES[size]))
    rows = [_turns(path.parent, json.loads(line)) for line in path.read_text().splitlines()]
    said = List({"role": Value("string"), "content": Value("string")})
    features = Features(images=List(ImageFeature()), prompt=said, chosen=said, rejected=said)
    options = DPOConfig(
        output_dir=str(path.parent / "trl"),
        per_device_train_batch_size=BATCH,
        max_steps=steps,
        learning_rate=LR,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        disable_tqdm=True,
    )
    trainer = DPOTrainer(
        model=LlavaForConditionalGeneration.from_pretrained(model),
        ref_model=LlavaForConditionalGeneration.from_pretrained(model),
        args=options,
        train_dataset=Dataset.from_list(rows, features=features),
        processing_class=AutoProcessor.from_pretrained(model),
    )
    trainer.train()
    trainer.save_model()


def _turns(folder: Path, row: dict[str, str]) -> dict[str, object]:
    answers = {name: [{"role": "assistant", "content": row[name]}] for name in ("chosen", "rejected")}
    return {"images": [str(folder / row["image"])], "prompt": [{"role": "user", "content": row["prompt"]}], **answers}


def compare(size: str, steps: int, repeats: int) -> dict[str, list[float]]:
    """Processor seconds of each contender, in turn; a first round, which fills caches, does not count."""
    found: dict[str, list[float]] = {side: [] for side in TITLES}
    with tempfile.TemporaryDirectory() as folder:
        rows = write_rows(Path(folder))
        for side in TITLES:
            seconds(command(side, size, 1, rows))
        for _ in range(repeats):
            for side, times in found.items():
                times.append(seconds(command(side, size, steps, rows)))
    return found


def table(size: str, steps: int, found: dict[str, list[float]]) -> str:
    lines = [
        f"| {TITLES[side]} | {statistics.median(times):.1f} | {machine.median_ratio(found['trl'], times):.2f} |"
        for side, times in found.items()
    ]
    heading = f"## {size}, {steps} steps of {BATCH} pairs\n\nThe goal is {GOALS[size]}× for training alone.\n"
    return "\n".join([heading, "| | processor seconds | TRL ÷ it |", "|---|---|---|", *lines, ""])


def options_of(argv: list[str] | None) -> argparse.Namespace:
    parser = machine.arguments(__doc__)
    parser.set_defaults(repeats=3)
    parser.add_argument("--size", choices=SIZES, help="only this one")
    parser.add_argument("--steps", type=int, help="instead of 20 (tiny) and 100 (45M)")
    parser.add_argument("--train", type=Path, help="only train with TRL, on these rows")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    options = options_of(argv)
    if options.train:
        train_with_trl(options.size, options.steps, options.train)
        return
    parts = []
    for size, usual in (("tiny", 20), ("45M", 100)):
        if options.size in (None, size):
            steps = options.steps or usual
            parts.append(table(size, steps, compare(size, steps, options.repeats)))
    heading = (
        f"# Whole commands\n\nDPO on a LLaVA of random weights, {ROWS} rows with a JPEG of 640×480 each, one thread.\n"
    )
    machine.write("commands", "cpu", "\n".join([heading, machine.described("cpu"), *parts]))


if __name__ == "__main__":
    main()
