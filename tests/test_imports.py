"""What a run imports: nothing that it does not need, and nothing that another would miss."""

import json
import subprocess
import sys

import pytest

LIGHTNING = """
import json, os, sys
import aa_lightning.assembly.results, aa_lightning.evaluation.measures
import aa_lightning.training.datamodule, aa_lightning.training.module
"""
NOT_NEEDED = {"matplotlib", "deepspeed", "sklearn", "torchmetrics.functional", "torchmetrics.classification"}
# each in a fork of one process in which lightning is imported and torchmetrics is not
ASKED = {
    "nothing": f"found = sorted({NOT_NEEDED} & set(sys.modules))",
    "by who looks through all modules": """
for module in list(sys.modules.values()):
    getattr(module, "__warningregistry__", None)
found = ["torchmetrics.functional" in sys.modules, sys.modules["torchmetrics"].__version__[:2]]
""",
    "a plot": """
import torchmetrics
metric = torchmetrics.MeanMetric()
metric.update(3.0)
try:
    found = type(metric.plot()[0]).__name__
except ModuleNotFoundError as error:  # of matplotlib
    found = str(error)
""",
}
WHOLE = """
from lightning.pytorch.core.module import Metric, MetricCollection
metric.update(3.0)
import torchmetrics, torchmetrics.utilities.distributed
found = [
    metric.compute().item(),
    isinstance(metric, Metric) and torchmetrics.Metric is Metric and torchmetrics.MetricCollection is MetricCollection,
    [torchmetrics.utilities.plot.plot_confusion_matrix.__name__, torchmetrics.classification.BinaryAccuracy.__name__],
]
"""
FIRST = [
    "import torchmetrics; metric = torchmetrics.MeanMetric()",
    "from torchmetrics import MeanMetric; metric = MeanMetric()",
    "from torchmetrics.aggregation import MeanMetric; metric = MeanMetric()",
    "from torchmetrics import *; metric = MeanMetric()",
]
FORKS = """
for name, code in json.loads(sys.argv[1]).items():
    if os.fork() == 0:
        scope = {"sys": sys}
        exec(code, scope)
        print(json.dumps([name, scope["found"]]), flush=True)
        os._exit(0)
    os.wait()
"""


def told(code: str, *arguments: str) -> list[str]:
    """The lines that a fresh process prints."""
    shown = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    return shown.stdout.strip().splitlines()


@pytest.fixture(scope="module")
def found() -> dict:
    """What was found in each fork."""
    asked = json.dumps(ASKED | {first: first + WHOLE for first in FIRST})
    return dict(map(json.loads, told(LIGHTNING + FORKS, asked)))


def test_a_run_imports_no_metrics_that_it_does_not_take(found):
    assert found["nothing"] == []


@pytest.mark.parametrize("first", FIRST)
def test_torchmetrics_is_whole_for_who_asks_for_it_and_its_metrics_are_those_that_lightning_knows(found, first):
    assert found[first] == [3.0, True, ["plot_confusion_matrix", "BinaryAccuracy"]]


def test_who_looks_through_all_modules_loads_none(found):
    assert found["by who looks through all modules"] == [False, "1."]


def test_a_metric_is_plotted_as_ever_and_a_package_that_is_there_already_stays_as_it_is(found):
    code = "import torchmetrics\nbefore = torchmetrics.MeanMetric\nimport sys" + ASKED["a plot"]
    there = f"{code}import aa_lightning.training, torchmetrics\nprint(found, torchmetrics.MeanMetric is before)"
    assert told(there) == [f"{found['a plot']} True"]
