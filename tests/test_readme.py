"""The README, block by block: its files are written, its commands run, or are composed and checked where they need what this
machine cannot have."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests.reliability import forked

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^( *)```(\w*) ?([^\n]*)\n(.*?)^ *```$", PAGE, re.MULTILINE | re.DOTALL)
LINES = [
    line.strip()
    for indent, language, name, body in BLOCKS
    if not name and language in ("", "sh") and "├" not in body
    for line in body.splitlines()
    if re.match(r"\s*(python|make|source)\b", line)
]
SHORT = [
    *(
        "trainer.max_steps=2",
        "evaluation.num_examples=4",
        "evaluation.num_generations=2",
        "evaluation.max_new_tokens=4",
    ),
    *("init=null", "trainer.enable_progress_bar=false"),
]
FAR = ("model=llava_1_5_7b", "model=qwen2_5_vl", "strategy=fsdp")  # weights of a hub, several GPUs


def files():
    return {
        name: "\n".join(line[len(indent) :] for line in body.split("\n")) for indent, _, name, body in BLOCKS if name
    }


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with the files that the README shows, photos that they name, and a run that has ended."""
    folder = tmp_path_factory.mktemp("readme")
    for name, content in files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    (folder / "photos").mkdir()
    for name in ("table", "chair", "cup"):
        Image.new("RGB", (32, 32), "red").save(folder / "photos" / f"{name}.png")
    pairs = [{"photo": "photos/cup.png", "question": f"Is it {i}?", "better": "Yes.", "worse": "No."} for i in range(4)]
    (folder / "my_pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs), encoding="utf-8")
    run(folder, ["python", "-m", "aa_lightning.train", "algo=dpo", "modality=ti2t", *SHORT, "output=first"])
    (ended,) = folder.glob("first/*/*")
    shutil.copytree(ended, folder / "outputs" / "<date>" / "<run>")
    return folder


def run(folder, typed):
    """`python -m`, the module and what follows it, typed in a folder; its exit code must be 0."""
    _, _, module, *argv = typed
    process = forked.Command(module, argv, cwd=folder)
    out, err = process.communicate()
    assert process.returncode == 0, f"{shlex.join(typed)}\n{out[-2000:]}\n{err[-3000:]}"


def test_every_block_is_a_file_or_commands_or_the_tree():
    assert len(LINES) >= 15 and len(files()) >= 4
    for _, language, name, body in BLOCKS:
        commands = [line for line in body.splitlines() if line.strip() in LINES]
        assert name or commands or "src/aa_lightning/" in body, (language, body)


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("make")])
def test_what_is_made_is_a_target(line):
    target = line.split()[1]
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("python")])
def test_a_command_runs_as_it_stands(workplace, line):
    typed = shlex.split(line, comments=True)
    module = typed[2].rpartition(".")[2]
    far = any(item.startswith(FAR) for item in typed)
    if far:
        run(workplace, [*typed, "--cfg", "job"])
    elif module == "train":
        again = [item for item in typed if item.startswith("resume=")]
        run(workplace, typed if again else [*typed, *SHORT])
    else:
        run(workplace, typed)
