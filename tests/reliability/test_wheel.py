"""The wheel, installed without the checkout: commands, configuration groups and tiny models come with it."""

import importlib.util
import json
import os
import subprocess
import sys
import sysconfig
import zipfile

import pytest

from tests.reliability.support import ROOT, TINY

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The bin folder of an environment that has the wheel, and this environment's other packages."""
    folder = tmp_path_factory.mktemp("wheel")
    here = ["--no-build-isolation"] if importlib.util.find_spec("hatchling") else []  # else pip fetches it
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", *here, "-w", str(folder), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    if "No matching distribution found for hatchling" in done.stderr:
        pytest.skip("hatchling, which builds the wheel, is not installed and cannot be fetched")
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    packages = folder / "venv" / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--prefix", str(folder / "venv"), str(wheel)]
    subprocess.run(pip, check=True)
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"))
    return wheel, folder / "venv" / "bin"


def run(bin_folder, where, name, *typed):
    """A console script of the installed package, from another folder and without the checkout on the path."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    script = [str(bin_folder / name)] if name != "python" else []
    command = [str(bin_folder / "python"), "-W", "ignore", *script, *typed]
    return subprocess.run(command, cwd=where, env=env, capture_output=True, text=True, check=False)


def test_the_wheel_holds_the_configuration_and_no_tests(installed):
    names = zipfile.ZipFile(installed[0]).namelist()
    groups = {path.name for path in (ROOT / "conf").iterdir() if path.is_dir() and any(path.iterdir())}
    assert {
        name.split("/")[2] for name in names if name.startswith("aa_lightning/conf/") and name.count("/") == 3
    } == groups
    assert "aa_lightning/py.typed" in names
    assert not [name for name in names if name.startswith(("tests", "benchmarks", "notebooks"))]


def test_aa_train_trains_from_another_folder(installed, tmp_path):
    done = run(installed[1], tmp_path, "aa-train", "algo=dpo", "modality=t2t", *TINY)
    assert done.returncode == 0, done.stderr
    (summary,) = tmp_path.glob("outputs/*/*/summary.json")
    assert json.loads(summary.read_text())["steps"] == 2
    where = run(installed[1], tmp_path, "python", "-c", "import aa_lightning; print(aa_lightning.__file__)")
    assert str(installed[1].parent) in where.stdout
    again = run(installed[1], tmp_path, "aa-evaluate", f"run={summary.parent}", *TINY)
    assert again.returncode == 0, again.stderr
    assert "preference_accuracy" in again.stdout
