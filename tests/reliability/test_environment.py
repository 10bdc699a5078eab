"""The environment that `make setup` makes loads processors, and so exports, without this package."""

import subprocess
import sys
import venv
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.reliability.support import ROOT

REPAIR = ROOT / "tests" / "torchvision_repair.py"
LOADS = "import transformers, torchvision, sys; transformers.LlavaProcessor; assert 'aa_lightning' not in sys.modules"


@pytest.fixture
def environment(tmp_path):
    """Another environment that has the packages of this one, and nothing that runs when Python starts: its Python, and
    where its own packages lie."""
    venv.create(tmp_path / "env", with_pip=False)
    packages = next((tmp_path / "env" / "lib").glob("python*/site-packages"))
    (packages / "these.pth").write_text(str(Path(find_spec("transformers").origin).parents[1]))
    return tmp_path / "env" / "bin" / "python", packages


def run(python, *arguments):
    return subprocess.run([python, "-W", "ignore", *arguments], capture_output=True, text=True, env={}, check=False)


@pytest.mark.slow
def test_torchvision_is_repaired_where_it_cannot_be_imported_and_nowhere_else(environment):
    python, packages = environment
    broken = run(python, "-c", LOADS).returncode != 0
    done = run(python, "-P", REPAIR)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in packages.glob("torchvision_repair.*")) == (
        ["torchvision_repair.pth", "torchvision_repair.py"] if broken else []
    )
    loaded = run(python, "-c", LOADS)
    assert loaded.returncode == 0, loaded.stderr


@pytest.mark.slow
def test_another_copy_of_the_repair_takes_the_place_of_an_older_one(environment):
    python, packages = environment
    (packages / "torchvision_repair.py").write_text("def install(): pass")
    (packages / "torchvision_repair.pth").write_text("import torchvision_repair; torchvision_repair.install()")
    assert run(python, "-P", REPAIR).returncode == 0
    assert (packages / "torchvision_repair.py").read_text() == REPAIR.read_text()
    assert run(python, "-c", LOADS).returncode == 0


def test_this_environment_loads_processors_without_this_package():
    loaded = run(sys.executable, "-c", LOADS)
    assert loaded.returncode == 0, loaded.stderr
