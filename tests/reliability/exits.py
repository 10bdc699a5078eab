"""Pairs of ranks that train a little and end, forked from one process that has imported everything: only the imports are
saved, each rank ends as an interpreter does.

    python -m tests.reliability.exits <folder> <strategy> <count>
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import time
from pathlib import Path

from omegaconf import OmegaConf

from aa_lightning.configuration.compose import compose
from aa_lightning.launch.command import command
from aa_lightning.launch.job import JOB
from aa_lightning.system.processes import _rank_environments
from aa_lightning.train import train
from tests.reliability.support import TINY

RUN = [
    *TINY,
    "modality=t2t",
    "algo=dpo",
    "loader.micro_batch_size=2",
    "trainer.strategy.timeout_minutes=1",
    "evaluation.num_examples=0",  # what takes time, and connects no process
    "logger.csv=false",
]


def pair(job: Path) -> list[int]:
    """How two ranks of a job end: exit codes, negative for a signal."""
    ranks = []
    for own in _rank_environments(2):
        pid = os.fork()
        if pid == 0:
            os.environ |= {**own, JOB: str(job)}
            sys.stdout = sys.stderr = open(job / f"told_{own['RANK']}.txt", "w")  # noqa: SIM115  until the process ends
            command("train")(lambda cfg: train(cfg, job / "run")["objective"])()
        ranks.append(pid)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in ranks]


def main(folder: str, strategy: str, count: str) -> None:
    import deepspeed  # noqa: F401
    import torch

    import aa_lightning.assembly.build
    import aa_lightning.report
    import aa_lightning.training.strategies  # noqa: F401

    torch.set_num_threads(1)
    cfg = compose([*RUN, f"strategy={strategy}", "trainer.devices=2", "trainer.accelerator=cpu"])
    plain = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    quiet = OmegaConf.create({"hydra": {"job_logging": None, "verbose": False}})
    for number in range(int(count)):
        job = Path(folder) / str(number)
        job.mkdir(parents=True)
        (job / "job.pickle").write_bytes(pickle.dumps((plain, quiet)))
        began = time.monotonic()
        codes = pair(job)
        values = [json.loads((job / f"{rank}.json").read_text()).get("value") for rank in range(2)]
        print(json.dumps({"codes": codes, "values": values, "seconds": time.monotonic() - began}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
