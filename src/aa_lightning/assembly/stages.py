"""Starting points of runs: another run, a checkpoint, an export, or a named stage that is trained once and cached.

A stage is an ordinary run in the user's cache folder. Its key is made of everything that shapes it: the resolved
configuration, the versions of the libraries and this package's own source.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from aa_lightning.configuration.compose import compose, made_here
from aa_lightning.configuration.folders import PACKAGE, conf_dir, file_of, option_names
from aa_lightning.runs.checkpoints import check_whole, complete
from aa_lightning.runs.layout import RunFolder
from aa_lightning.system.cache import cache_root, code_of, made_once
from aa_lightning.system.processes import rank, run_alone
from aa_lightning.system.shown import printable

# what transformers, diffusers, peft and diffusers' adapters are found by
_LOADABLE = ("config.json", "model_index.json", "adapter_config.json", "pytorch_lora_weights.safetensors")
_LIBRARIES = ("torch", "transformers", "diffusers", "lightning")


def starting_point(cfg: DictConfig) -> str | None:
    """The path of weights that `init` means, or None for the model's own. A stage is trained if the cache lacks it.

    Returns:
        A folder that the loaders read, or a checkpoint (.ckpt) of one file. Absolute, since an adapter's export
        remembers where its base is.

    Raises:
        ValueError: nothing to start from there.
    """
    if cfg.init is None:
        return None
    if is_stage(cfg.init):
        return str(RunFolder(_stage(cfg)).export)
    return weights_at(cfg.init, "init")


def weights_at(given: str, key: str) -> str:
    """The path of weights that a run folder, an export or a checkpoint means.

    Args:
        given: what was typed. key: for what.

    Returns:
        As for `starting_point`.

    Raises:
        ValueError: nothing to start from there.
    """
    path = Path(given).absolute()
    if (run := RunFolder(path)).export.is_dir():
        return str(run.export)
    if path.is_dir() and any((path / name).is_file() for name in _LOADABLE):
        return str(path)
    written = [path] if path.suffix == ".ckpt" and path.exists() else complete(run.checkpoints)
    if written:
        check_whole(written[-1], f"{key}={given}")
        return str(_of_one_file(written[-1], f"{key}={given}"))
    stages = ", ".join(option_names([conf_dir()])["stage"])
    or_stage = f", or init=stage:<name> with one of {stages}" if key == "init" else ""
    why = "holds no export and no checkpoint" if path.is_dir() else "does not exist"
    raise ValueError(
        f"{key}={given} {why}, so there is nothing to start from: type {key}=<run folder>, {key}=<export folder>, "
        f"{key}=<file>.ckpt{or_stage}"
    )


def is_stage(init: str | None) -> bool:
    """Tell whether a run starts from a stage, which is trained if the cache lacks it."""
    return init is not None and init.startswith("stage:")


def export_of(run: str) -> Path:
    """The export of a run folder.

    Raises:
        ValueError: it has none.
    """
    folder = RunFolder(run).export
    if not folder.is_dir():
        resumed, begun = shlex.quote(f"resume={run}"), shlex.quote(f"init={run}")
        raise ValueError(
            f"run={run} has no export, since it did not end: type python -m aa_lightning.train {resumed} to end it, "
            f"or {begun} instead of run= to start from its last checkpoint"
        )
    return folder.absolute()


def _of_one_file(checkpoint: Path, given: str) -> Path:
    if checkpoint.is_dir():
        raise ValueError(
            f"{given} means {checkpoint}, a checkpoint in shards that only its own strategy can read: let the run "
            f"end (resume=<run folder>), then type {given.partition('=')[0]}=<run folder> for its export"
        )
    return checkpoint


def _stage(cfg: DictConfig) -> Path:
    """The folder of the stage that `init` names; rank 0 trains it if need be, the others wait."""
    stage = _stage_config(cfg)
    folder = _folder(stage)
    while rank() > 0 and not folder.is_dir():
        time.sleep(0.2)

    def tell(what: str) -> None:
        print(printable(f"init={cfg.init}: {what}"), flush=True)

    def make(workshop: Path) -> None:
        tell(f"training this stage once; it is kept in {folder} for later runs")
        _train(stage, workshop)

    return made_once(folder, make, lambda holder: tell(f"{holder} is training this stage; this run waits for it"))


def _stage_config(cfg: DictConfig) -> DictConfig:
    """The stage's overrides, on the model of the run that starts from it, and on its data where these are Shapes."""
    name = cfg.init.removeprefix("stage:")
    written = OmegaConf.load(file_of("stage", name, [conf_dir()]))
    of_modality = written.get("by_modality", {}).get(cfg.modality_name, [])
    stage = compose([f"modality={cfg.modality_name}", *written.overrides, *of_modality])
    stage.model = OmegaConf.merge(cfg.model, written.model)
    stage.seed = cfg.seed
    if made_here(cfg.data):
        stage.data = cfg.data
    return stage


def _folder(stage: DictConfig) -> Path:
    shaped_by: dict[str, Any] = {
        "config": OmegaConf.to_container(stage, resolve=True),
        "libraries": {name: version(name) for name in _LIBRARIES},
        "source": code_of(*(path.name for path in PACKAGE.iterdir() if path.name != "report")),
    }
    key = hashlib.sha256(json.dumps(shaped_by, sort_keys=True).encode()).hexdigest()[:16]
    return cache_root() / "stages" / f"{stage.modality_name}-{key}"


def _train(stage: DictConfig, workshop: Path) -> None:
    """Train the stage in a process of its own, whatever launched this one; it ends with this one."""
    OmegaConf.save(stage, workshop / "stage.yaml", resolve=True)
    launcher = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "SLURM_NTASKS", "MASTER_PORT", "AA_LIGHTNING_JOB")
    env = {key: value for key, value in os.environ.items() if key not in launcher}
    if run_alone([sys.executable, "-c", _RUN, str(workshop)], env):
        failed = RunFolder(workshop).error
        reason = failed.read_text(encoding="utf-8").partition("\n\n")[0] if failed.is_file() else "it was stopped"
        raise ValueError(
            f"the stage that training starts from could not be trained, in {workshop}: {reason}\n"
            "type: init=null to start from the model as it is"
        )


_RUN = r"""
import sys
from pathlib import Path
from omegaconf import OmegaConf
from aa_lightning.launch.job import describe
from aa_lightning.system.signals import listen
from aa_lightning.train import train
from aa_lightning.system.processes import end_with_parent
end_with_parent()
listen()
folder = Path(sys.argv[1])
try:
    train(OmegaConf.load(folder / "stage.yaml"), folder, tell=False)
except Exception as error:
    message, _, story = describe(error)
    (folder / "error.txt").write_text(f"{message}\n\n{story}", encoding="utf-8")
    sys.exit(1)
"""
