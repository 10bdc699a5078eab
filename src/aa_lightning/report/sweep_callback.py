"""The callback that shows a sweep's table at its end. Every command loads it, so it imports nothing until then."""

from __future__ import annotations

import atexit
import contextlib
import io
import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback

from aa_lightning.runs.layout import RunFolder
from aa_lightning.system.shown import printable


class SweepTable(Callback):
    """Prints the table and writes sweep.csv, sweep.json and sweep.html when a sweep ends.

    Hydra does not reach `on_multirun_end` once a job has failed, so the table is also due when the process ends.
    """

    def on_multirun_start(self, config: Any, **kwargs: Any) -> None:
        self._folder = Path(config.hydra.sweep.dir).absolute()
        atexit.register(self._finish)

    def on_job_end(self, config: Any, job_return: Any, **kwargs: Any) -> None:
        """Leave error.txt in the folder of a job that failed, where the job itself did not."""
        path = RunFolder(config.hydra.runtime.output_dir).error
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # Hydra prints a line for each look at a failed result
                _ = job_return.return_value
        except Exception as error:  # whatever the job raised
            if not path.is_file():
                path.write_text(printable(f"{type(error).__name__}: {error}\n"), encoding="utf-8")

    def on_multirun_end(self, config: Any, **kwargs: Any) -> None:
        self._finish()

    def _finish(self) -> None:
        atexit.unregister(self._finish)
        if not self._folder.is_dir():
            return  # the sweep ended before its first job
        from aa_lightning.report.sweep import table, write_sweep
        from aa_lightning.runs.reader import find_runs

        try:
            path = write_sweep(self._folder)
        except ValueError as error:
            print(printable(f"No sweep table: {error}"), file=sys.stderr)
            return
        print(printable(f"\n{table(find_runs(self._folder))}\n\n{path}"), flush=True)
