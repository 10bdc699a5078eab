"""Run folders: how one is laid out, read, resumed and received."""

from aa_lightning.runs.reader import HELDOUT, Run, Status, differences, find_runs, frame

__all__ = ["HELDOUT", "Run", "Status", "differences", "find_runs", "frame"]
