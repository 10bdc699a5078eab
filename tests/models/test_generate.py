"""The generate command shows what was written, and says what a model cannot write."""

import pytest
from PIL import Image

from aa_lightning.compose import compose
from aa_lightning.generate import Chat, run, show
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
    with pytest.raises(ValueError, match=r"modality=ti2ti writes pictures.*type model\.image_decoder=<package>"):
        Chat.of(compose(asked, "generate"))


def test_where_texts_are_to_be_written_it_says_that_it_draws_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("aa_lightning.generate.run_folder", lambda: tmp_path)
    asked = ["model=tiny_chameleon", "model.image_decoder=null", "modality=ti2t", "prompt=Draw.", "max_new_tokens=4"]
    run.__wrapped__(compose(asked, "generate"))
    said = capsys.readouterr().out
    assert "writes text alone: to draw, type model.image_decoder=" in said
    assert not list(tmp_path.iterdir())
