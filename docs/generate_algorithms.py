"""Writes the table of algorithms into docs/algorithms.md, out of conf/algo and the benchmark's results: make docs."""

from __future__ import annotations

import json
import re
import statistics
import sys
from pathlib import Path
from typing import Any

from generate import with_table
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.contract import support  # noqa: E402

CONF, PAGE = ROOT / "conf" / "algo", ROOT / "docs" / "algorithms.md"
RESULTS = ROOT / "benchmarks" / "results" / "algorithms.json"
HEADER = ["`algo=`", "what it is, and its paper", "what it sets", "learns from", "likelihood", "tested on"]
HEADER += ["held-out accuracy"]
MADE = ("auxiliary", "mismatched", "corrupted", "changed")  # of any rows
MEASURES = ("preference_accuracy", "likelihood_accuracy", "reward_accuracy")


def lines() -> list[list[str]]:
    """All algorithms by name."""
    results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    paths = sorted(CONF.glob("*.yaml"))
    with initialize_config_dir(str(CONF.parent), version_base="1.3"):
        whole = compose(
            None, [f"+algo@{path.stem}={path.stem}" for path in paths]
        )  # at once: Hydra takes long to start
    return [line(path, whole[path.stem], results) for path in paths]


def line(path: Path, settings: DictConfig, results: dict[str, Any]) -> list[str]:
    """The cells of one algorithm."""
    text = path.read_text(encoding="utf-8")
    about = " ".join(row[1:].strip() for row in text.split("\n") if row.startswith("#"))
    rooted = OmegaConf.create({"algo": OmegaConf.to_container(settings)})  # where its references point
    algorithm = instantiate(rooted.algo, _convert_="all")
    brings = [name for name in algorithm.wants if name not in MADE]
    return [
        f"`{path.stem}`",
        about.replace("|", "&#124;"),
        _settings(text),
        " + ".join([algorithm.supervision, *brings]),
        " or ".join(algorithm.accepts),
        _modalities(rooted.algo, algorithm),
        _measured([run for key, run in results.items() if key.split("/")[0] == path.stem]),
    ]


def _modalities(settings: DictConfig, algorithm: Any) -> str:
    """Those on whose tiny models tests/contract/test_algorithms.py takes a step of it."""
    first = {support.modality(model): model for model in reversed(support.MODELS)}
    tested = [name for name, model in sorted(first.items()) if not support.why_refused(model, settings, algorithm)]
    missing = sorted(first.keys() - {*tested})
    if len(missing) > 3:
        return " ".join(f"`{modality}`" for modality in tested)
    return "all" + (f" but {' '.join(f'`{modality}`' for modality in missing)}" if missing else "")


def _settings(text: str) -> str:
    """What the file says beyond the options it builds on."""
    rows = [re.sub(r"\s+#.*", "", row) for row in text.split("\n") if row and not row.startswith("#")]
    kept = [row for row in rows if not row.lstrip().startswith(("defaults", "- ", "_target_"))]
    return "<br>".join(f"`{row}`" for row in kept if not row.endswith(":"))


def _measured(runs: list[dict[str, Any]]) -> str:
    """Mean and smallest over seeds."""
    measure = next((name for name in MEASURES if runs and f"after/{name}" in runs[0]), None)
    if measure is None:
        return "–"
    found = [run[f"after/{measure}"] for run in runs]
    return f"{statistics.mean(found):.3f} ({min(found):.3f})"


def page(text: str) -> str:
    """The page with the table as it is now."""
    return with_table(text, "generate_algorithms", HEADER, lines())


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
