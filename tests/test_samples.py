"""Samples are files that people can open, and the report plays and shows them."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import numpy as np
from PIL import Image

import aa_lightning  # noqa: F401
from aa_lightning.evaluation.samples import save_samples
from aa_lightning.media.audio import Sound
from aa_lightning.media.audio import decode as decode_sound
from aa_lightning.media.options import VideoOptions
from aa_lightning.media.video import Clip
from aa_lightning.media.video import decode as decode_clip
from aa_lightning.report import write_report
from aa_lightning.types import Prompt
from run_folders import make_run

SOUND = Sound((0.5 * np.sin(np.arange(8000) / 5)).astype(np.float32), 8000)
CLIP = Clip(np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8), np.array([0, 0.5, 1.0, 2.0]))


def saved(folder: Path) -> list[dict]:
    """One sample with every medium in its prompt and a sound in its response."""
    parts = [
        {"type": "image", "image": Image.new("RGB", (8, 6), "red")},
        {"type": "audio", "audio": SOUND},
        {"type": "video", "video": Clip(CLIP.frames, CLIP.times, SOUND)},
        {"type": "text", "text": "What is there?"},
    ]
    prompt = Prompt(id="0", messages=[{"role": "user", "content": parts}], answer="red")
    file = save_samples(folder, "after", [prompt], {"policy": [[{"type": "audio", "audio": SOUND}]]}, {"0": False})
    return json.loads(file.read_text())


def test_sounds_and_clips_become_files_that_give_them_back(tmp_path: Path) -> None:
    (sample,) = saved(tmp_path)
    image, audio, video, track, text = sample["prompt"][0]["content"]
    assert [part["type"] for part in (image, audio, video, track)] == ["image", "audio", "video", "audio"]
    assert text == {"type": "text", "text": "What is there?"}
    assert Image.open(tmp_path / image["image"]).size == (8, 6)
    for name in (audio["audio"], track["audio"], sample["responses"]["policy"][0]["audio"]):
        back = decode_sound(tmp_path / name)
        assert back.rate == 8000 and np.abs(back.samples - SOUND.samples).max() < 1e-4
    back = decode_clip(tmp_path / video["video"], VideoOptions(fps=None))
    assert np.array_equal(back.frames, CLIP.frames) and back.times.tolist() == CLIP.times.tolist()
    assert len({part[part["type"]] for part in (image, audio, video, track)}) == 4


def test_the_report_plays_sounds_and_shows_clips_from_inside_the_page(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    saved(folder / "samples")
    html = write_report(folder).read_text(encoding="utf-8")
    assert "<h4>after · wrong</h4>" in html
    played = re.findall(r'<audio src="data:audio/[\w-]+;base64,([\w+/=]+)" controls', html)
    shown = re.findall(r'<img src="data:image/webp;base64,([\w+/=]+)"', html)
    files = {path.name: path.read_bytes() for path in (folder / "samples").iterdir()}
    assert len(played) == 3 and all(base64.b64decode(content) in files.values() for content in played)
    assert [base64.b64decode(content) for content in shown] == [files["000_prompt0_2.webp"]]
