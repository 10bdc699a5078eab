"""The notebooks run from top to bottom and show the numbers of the runs that they are given."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import aa_lightning
from run_folders import make_run

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> nbformat.NotebookNode:
    """compare_runs.ipynb on two runs: beta 0.1 reaches 91 %, beta 0.5 reaches 70 %."""
    folder = tmp_path_factory.mktemp("sweep")
    make_run(folder / "0_beta=0.1", beta=0.1, after=0.91)
    make_run(folder / "1_beta=0.5", beta=0.5, after=0.70)
    notebook = nbformat.read(NOTEBOOKS / "compare_runs.ipynb", as_version=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AA_RUNS", str(folder))
        patch.setenv("PYTHONPATH", str(Path(aa_lightning.__file__).parents[1]))
        return NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(folder)}}).execute()


def shown(notebook: nbformat.NotebookNode, kind: str) -> list[str]:
    """What code cells printed (`text`), or displayed of one MIME type."""
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    if kind == "text":
        return [output.text for output in outputs if output.output_type == "stream"]
    return [output.data[kind] for output in outputs if "data" in output and kind in output.data]


def test_the_comparison_names_what_differs_and_what_it_did(executed: nbformat.NotebookNode) -> None:
    text = "\n".join(shown(executed, "text"))
    assert "algo.beta: 0.1 → 0.5" in text
    assert "52.0 % → 91.0 %" in text
    assert "It worked: held-out preference accuracy went from 52.0 % to 70.0 % (+18.0 points)" in text
    assert "algo.beta=0.1: 52.0 % → 91.0 %, blanked 55.0 %" in text
    assert "algo.beta=0.5: 52.0 % → 70.0 %, blanked 55.0 %" in text


def test_the_comparison_draws_curves_and_the_ablation(executed: nbformat.NotebookNode) -> None:
    assert len(shown(executed, "image/png")) == 2


def test_samples_stand_side_by_side_with_their_pictures(executed: nbformat.NotebookNode) -> None:
    (html,) = shown(executed, "text/html")
    assert html.count('src="data:image/png;base64,') == 2
    assert html.count("A red circle.") == 3  # in the data, and said by both runs
    assert "&lt;b&gt;shape&lt;/b&gt;" in html


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.name)
def test_notebooks_are_kept_without_outputs(path: Path) -> None:
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert cells
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)
