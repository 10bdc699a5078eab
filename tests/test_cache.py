"""Where this package keeps what it makes once for a machine."""

from pathlib import Path

import pytest

from aa_lightning.system.cache import cache_root, made_once


@pytest.mark.parametrize(
    ("ours", "users", "folder"),
    [
        ("/big/disk", "/xdg", "/big/disk"),
        (None, "/xdg", "/xdg/aa_lightning"),
        ("", "/xdg", "/xdg/aa_lightning"),
        (None, None, "/home/someone/.cache/aa_lightning"),
        (None, "", "/home/someone/.cache/aa_lightning"),
        (None, "relative", "/home/someone/.cache/aa_lightning"),
        (None, "~/elsewhere", "/home/someone/elsewhere/aa_lightning"),
    ],
)
def test_the_cache_lies_where_the_environment_says(monkeypatch, ours, users, folder):
    monkeypatch.setenv("HOME", "/home/someone")
    for name, value in (("AA_LIGHTNING_CACHE", ours), ("XDG_CACHE_HOME", users)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert cache_root() == Path(folder)


def test_what_was_made_once_is_made_again_where_it_was_cut_or_is_of_another_making(tmp_path):
    folder, made = tmp_path / "tiny" / "model", []

    def make(workshop):
        (workshop / "part").mkdir()
        (workshop / "part" / "weights").write_bytes(b"1234")
        made.append(1)

    made_once(folder, make)
    made_once(folder, make)
    assert len(made) == 1
    (folder / "part" / "weights").write_bytes(b"123")
    (folder / "left over").write_text("")
    assert made_once(folder, make) == folder and len(made) == 2
    assert [path.name for path in folder.iterdir()] == ["part"]
    assert (folder / "part" / "weights").read_bytes() == b"1234"
    (folder / "part" / "weights").unlink()
    made_once(folder, make)
    (tmp_path / "tiny" / ".model.json").write_text("[1")
    made_once(folder, make)
    (tmp_path / "tiny" / ".model.json").unlink()
    made_once(folder, make)
    assert len(made) == 5
    assert sorted(path.name for path in (tmp_path / "tiny").iterdir()) == [".model.json", "model"]


def test_a_folder_that_another_process_finished_meanwhile_is_kept(tmp_path):
    folder = tmp_path / "made"
    waited = []

    def make(workshop):
        (workshop / "by").write_text("the first")

    def make_late(workshop):
        raise AssertionError("it is there already")

    made_once(folder, make, waited.append)
    assert made_once(folder, make_late, waited.append) == folder
    assert (folder / "by").read_text() == "the first"
    assert waited == []
