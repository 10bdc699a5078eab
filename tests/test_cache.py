"""Where this package keeps what it makes once for a machine."""

from pathlib import Path

import pytest

from aa_lightning.cache import cache_root


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
