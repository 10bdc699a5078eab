"""What is heavy and optional is an extra: nothing else needs it, and who needs it is told before anything loads."""

import re
import subprocess
import sys
import tomllib

import pytest

from aa_lightning.configuration.compose import compose
from aa_lightning.configuration.wording import ConfigError
from tests.reliability.support import ROOT, TINY

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
OPTIONAL = ["diffusers", "deepspeed", "av", "soundfile", "soxr", "math_verify", "num2words", "optuna", "joblib"]


@pytest.mark.parametrize(
    ("typed", "given", "package", "extra"),
    [
        ("modality=t2i", "model.family=stable_diffusion", "diffusers", "diffusion"),
        ("strategy=deepspeed_zero2", "strategy=deepspeed_zero2", "deepspeed", "deepspeed"),
        ("model.quantization=int8", "model.quantization=int8", "bitsandbytes", "quantization"),
        ("rollout.engine=vllm", "rollout.engine=vllm", "vllm", "vllm"),
        ("logger=wandb", "logger=wandb", "wandb", "wandb"),
        ("logger=mlflow", "logger=mlflow", "mlflow", "mlflow"),
    ],
)
def test_who_needs_an_extra_that_is_not_installed_is_told_what_installs_it(monkeypatch, typed, given, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError) as refused:
        compose([typed])
    advice = f"type: pip install 'aa_lightning[{extra}]'"
    assert str(refused.value) == f"{given} needs {package}, which is not installed\n{advice}"
    assert any(one.startswith((package, f"{package}-")) for one in EXTRAS[extra])


def test_every_extra_that_an_error_or_a_page_names_exists():
    files = [*(ROOT / "src").rglob("*.py"), *(ROOT / "conf").rglob("*.yaml"), *(ROOT / "docs").glob("*.md")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in [*files, ROOT / "README.md", ROOT / "Makefile"])
    named = {
        name for several in re.findall(r"(?:aa[-_]lightning|\.)\[([a-z,]+)\]'", text) for name in several.split(",")
    }
    assert named >= {"math", "video", "all", "dev"}
    assert named <= set(EXTRAS)
    (whole,) = EXTRAS["all"]
    assert set(re.search(r"\[(.+)\]", whole)[1].split(",")) == set(EXTRAS) - {
        *("all", "dev"),
        *("quantization", "vllm", "wandb", "mlflow"),
    }


@pytest.mark.slow
def test_a_run_that_needs_none_of_them_works_without(tmp_path):
    typed = ["algo=dpo", "modality=ti2t", *TINY, f"output={tmp_path}"]
    code = f"import sys; sys.modules.update(dict.fromkeys({OPTIONAL})); sys.argv[1:] = {typed}\n"
    code += "from aa_lightning.train import main; main()"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.rglob("report.html"))
