"""report.html of a run folder: one page that says whether training worked, and shows it.

A run writes it when it ends; for one that was cut off, type

    python -m aa_lightning.report outputs/<date>/<time>_dpo_ti2t
"""

from __future__ import annotations

from pathlib import Path

from aa_lightning.report.changes import changes_section
from aa_lightning.report.cost import cost_section, dropped_section, repeat_section
from aa_lightning.report.curves import curves_section
from aa_lightning.report.drawn import drawn_section
from aa_lightning.report.findings import findings_section
from aa_lightning.report.heldout import heldout_section, verdict
from aa_lightning.report.page import Html, page, tag
from aa_lightning.report.samples import samples_section
from aa_lightning.runs.reader import Run
from aa_lightning.system.atomic import write_text


def write_report(run_folder: str | Path) -> Path:
    """Write report.html into a run folder and return its path.

    It works on whatever the run left behind: without samples, without held-out numbers, or cut off at any step.

    Raises:
        ValueError: the folder is no run folder.
    """
    run = Run(run_folder)
    document = page(
        f"{_what(run)} · {run.name}",
        _header(run),
        heldout_section(run),
        findings_section(run),
        changes_section(run),
        curves_section(run),
        samples_section(run),
        drawn_section(run),
        cost_section(run),
        dropped_section(run),
        repeat_section(run),
    )
    path = run.place.report
    write_text(path, document)
    return path


def _what(run: Run) -> str:
    return " · ".join(filter(None, (run.choice("algo"), run.choice("model"), run.choice("modality")))) or run.name


def _header(run: Run) -> Html:
    tone, sentences = verdict(run)
    steps = f"{int(run.metrics[-1]['step']):,} steps" if run.metrics else None
    data = run.choice("data")
    facts = (run.name, f"data {data}" if data else None, steps, run.status)
    return tag(
        "header",
        tag("h1", _what(run)),
        tag("p", " · ".join(filter(None, facts)), class_="facts"),
        tag("div", *(tag("p", sentence) for sentence in sentences), class_=f"verdict {tone}"),
        class_="top",
    )
