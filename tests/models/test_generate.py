"""The generate command shows what was written, and says what a model cannot write."""

import sys

import pytest
import torch
from PIL import Image

from aa_lightning import generate
from aa_lightning.assembly import policy
from aa_lightning.assembly.chat import Chat, show
from aa_lightning.configuration.compose import compose
from aa_lightning.configuration.literal import as_string
from aa_lightning.media import MediaError
from aa_lightning.runs.resume import with_recorded_overrides
from aa_lightning.types import text


def picture(level: int) -> dict:
    return {"type": "image", "image": Image.new("RGB", (8, 8), (level, level, level))}


def test_every_picture_of_every_response_and_turn_gets_a_file_of_its_own(tmp_path, capsys):
    show([[text("two"), picture(1), picture(2)], [picture(3)]], tmp_path)
    show([[picture(4)]], tmp_path)
    names = ["response_0.png", "response_0_2.png", "response_1.png", "response_0_3.png"]
    assert [Image.open(tmp_path / name).getpixel((0, 0))[0] for name in names] == [1, 2, 3, 4]
    assert capsys.readouterr().out.split() == ["two", *(str(tmp_path / name) for name in names)]


def test_a_model_that_makes_no_pictures_of_its_codes_is_refused_where_pictures_are_to_be_written():
    asked = ["model=tiny_chameleon", "model.image_decoder=null", "modality=ti2ti"]
    with pytest.raises(ValueError, match=r"modality=ti2ti writes images.*type model\.image_decoder=<package>"):
        Chat.of(compose(asked, "generate"))


def test_where_texts_are_to_be_written_it_says_that_it_draws_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("aa_lightning.generate.run_folder", lambda: tmp_path)
    asked = ["model=tiny_chameleon", "model.image_decoder=null", "modality=ti2t", "prompt=Draw.", "max_new_tokens=4"]
    generate.main.__wrapped__(compose(asked, "generate"))
    said = capsys.readouterr().out
    assert "can only write text; to generate images, set model.image_decoder=" in said
    assert not list(tmp_path.iterdir())


ODD = [
    "a, b = [c] 'd' \"e\"",
    "two\nlines: {x: 1}",
    "the price is ${oc.env:HOME}, or \\${x}",
    "a path C:\\new\\, it's \\' odd\\",
    "[1,2]",
    "true",
    "",
]


class Listener:
    """Stands for a chat, and keeps what it is asked."""

    asked: list = []  # noqa: RUF012 (emptied by each test)

    def __init__(self, cfg):
        self.system = cfg.system

    def ask(self, prompt, **files):
        self.asked.append((prompt, self.system, files))
        return []


def asked_by(monkeypatch, tmp_path, *typed: str):
    """What the real command asks for these words of a command line."""
    Listener.asked = []
    monkeypatch.setattr(Chat, "of", Listener)
    monkeypatch.setattr(sys, "argv", ["generate", "model=tiny_llava", f"output={tmp_path}", *typed])
    with pytest.raises(SystemExit) as ended:
        generate.main()
    assert ended.value.code == 0
    return Listener.asked[0]


@pytest.mark.parametrize("words", ODD)
def test_words_are_asked_as_they_are_typed(monkeypatch, tmp_path, words):
    prompt, system, _ = asked_by(monkeypatch, tmp_path, f"prompt={words}", f"system={words}")
    assert (prompt, system) == (words, words)


def test_a_file_is_found_whatever_its_name_is_and_several_stand_in_brackets(monkeypatch, tmp_path):
    odd = tmp_path / "[a, b] = 'c' (1).png"
    odd.touch()
    monkeypatch.chdir(tmp_path)
    files = ["image=[a, b] = 'c' (1).png", "audio=no, such file.wav", "video=[a.mp4,b.mp4]"]
    _, system, shown = asked_by(monkeypatch, tmp_path, "prompt=What?", "system=null", *files)
    assert system is None
    assert shown == {"images": [odd.name], "sounds": ["no, such file.wav"], "videos": ["a.mp4", "b.mp4"]}
    with pytest.raises(MediaError, match="no, such file.wav"):
        Chat(None).ask("What?", sounds=shown["sounds"])


@pytest.mark.parametrize(("config", "key"), [("generate", "run"), ("evaluate", "run"), ("train", "resume")])
def test_a_run_folder_is_found_whatever_its_name_is(tmp_path, config, key):
    folder = tmp_path / "my, run = [1] 'b' (2)"
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text("- model=tiny_llava\n- algo.beta=0.3\n")
    typed = with_recorded_overrides([f"{key}={folder}", "seed=3"], key, same_folder=False)
    cfg = compose(typed, config)
    assert (cfg[key], cfg.algo.beta, cfg.seed) == (str(folder), 0.3, 3)
    again = with_recorded_overrides([f"{key}={folder}"], key, same_folder=True)
    assert as_string(str(folder)) == next(item for item in again if "run.dir" in item).partition("=")[2]


def test_other_words_are_answered_as_before(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "argv", ["generate", f"output={tmp_path}", "promt=What?"])
    with pytest.raises(SystemExit) as ended:
        generate.main()
    assert ended.value.code == 1
    assert "did you mean prompt" in capsys.readouterr().err


@pytest.mark.parametrize(("accelerated", "device"), [(True, "cuda"), (False, "cpu")])
def test_the_model_answers_on_the_accelerator_where_there_is_one(monkeypatch, accelerated, device):
    moved = []

    class Policy(torch.nn.Module):
        def to(self, where):
            moved.append(where)
            return self

    monkeypatch.setattr(policy, "build_chat_policy", lambda cfg: Policy())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: accelerated)
    chat = Chat.of(compose(["model=tiny_llava", "modality=ti2t", "prompt=What?"], "generate"))
    assert isinstance(chat.policy, Policy) and moved == [device]
