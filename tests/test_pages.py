"""Pages name what exists: every path, every name of code, every option and every command that they mention."""

import ast
import functools
import re
import shlex

import pytest

from aa_lightning.configuration.compose import compose
from aa_lightning.configuration.folders import conf_dir, option_names
from aa_lightning.configuration.keys import Configuration
from tests.reliability.support import ROOT
from tests.test_layers import FLOORS

PAGES = (
    "README.md",
    "docs/architecture.md",
    "docs/glossary.md",
    "docs/coming_from.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
)
FOLDERS = (ROOT, ROOT / "src" / "aa_lightning", ROOT / "docs", ROOT / "conf")
MADE = re.compile(  # by a run, by a user, or by other programs
    r"(my_|outputs/|samples/|checkpoints/|export/|tensorboard/|\.hydra/|adapter/|base/|[A-Z]{3})|^(train|error)\.(log|txt)$|"
    r"^(summary|before|after|drawn_\w+|sweep|dataset_info)\.(json|csv|html)$|^(config|mkdocs)\.yaml$|^(metrics|report)\.|last\.ckpt|"
    r"\.safetensors$|\.sha256$|^README\.md$"
)
METRIC = re.compile(r"(train|val|heldout|rollout|time|throughput|memory)/|data/padding_share")
TYPED = re.compile(r"^'?\+{0,2}[a-z_]+([.@/][\w.]+)*=")


def spans(page: str) -> list[str]:
    """What stands in backticks, but in fenced blocks and in the names that other programs give."""
    text = (ROOT / page).read_text(encoding="utf-8")
    if page == "docs/coming_from.md":
        text = re.sub(r"^\|.*? \| ", "| ", text, flags=re.MULTILINE)
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))


@functools.cache
def defined() -> tuple[set[str], dict[str, set[str]]]:
    """All names that the sources define, and the members of each class."""
    names, members = set(), {}
    for path in (ROOT / "src").rglob("*.py"):
        names |= {path.stem, path.parent.name}
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Name | ast.arg):
                names.add(node.id if isinstance(node, ast.Name) else node.arg)
            elif isinstance(node, ast.Attribute):
                names.add(node.attr)
            if isinstance(node, ast.ClassDef):
                own = {one.name for one in node.body if isinstance(one, ast.FunctionDef)}
                own |= {one.target.id for one in node.body if isinstance(one, ast.AnnAssign)}
                members.setdefault(node.name, set()).update(own)
    return names, members


@functools.cache
def code() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))


@functools.cache
def keys() -> set[str]:
    """All keys of the configurations of several kinds of runs."""
    found: set[str] = set()
    for typed in ([], ["modality=t2i"], ["algo=mpo"], ["modality=t2a"], ["data=rlaif_v"], ["strategy=ddp"]):
        found |= set(Configuration("train", typed, [conf_dir()]).names)
    return found


def stands_for(name: str) -> bool:
    """Whether a dotted name is one of the configuration or of the code."""
    names, members = defined()
    parts = name.removesuffix("()").split(".")
    if name in keys() or (parts[0] == "aa_lightning" and (ROOT / "src" / "/".join(parts)).with_suffix(".py").is_file()):
        return True
    if parts[0] in members and len(parts) == 2 and parts[1] in members[parts[0]]:
        return True
    return (parts[0] not in members and all(part in names for part in parts)) or any(
        key.startswith(f"{parts[0]}.") and key.endswith(f".{parts[-1]}") for key in keys()
    )


def exists(path: str) -> bool:
    """Whether there is such a file or folder, or such a metric."""
    if METRIC.match(path):
        return all(f"{path.partition('/')[0]}/" in code() and name in code() for name in path.split("/")[1:])
    pattern = re.sub(r"<[^>]+>|…", "*", path.strip("/"))
    return any(next(folder.glob(pattern), None) is not None for folder in FOLDERS)


@pytest.mark.parametrize("page", PAGES)
def test_every_path_exists(page):
    paths = [
        one for one in spans(page) if re.fullmatch(r"\.?[\w.<>*-]+(/[\w.<>*-]*)+|[\w<>*-]+\.(py|yaml|md|json)", one)
    ]
    assert [one for one in paths if not MADE.search(one) and not exists(one)] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_dotted_name_exists(page):
    dotted = [one for one in spans(page) if re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+(\(\))?", one)]
    files = (".py", ".md", ".json", ".yaml", ".txt", ".log", ".csv", ".html", ".ckpt", ".safetensors", ".sha256")
    assert [one for one in dotted if not one.endswith(files) and not stands_for(one)] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_option_exists(page):
    """A group's option has a file, any other key is one of the configuration."""
    groups, unknown = option_names([conf_dir()]), []
    for one in spans(page):
        for word in shlex.split(one) if TYPED.match(one) and one.count("'") % 2 == 0 else []:
            key, _, value = word.lstrip("+").partition("=")
            known = key in keys() or (re.match(r"^(data|algo|model)\.", key) and stands_for(key))
            if re.search(r"[<…]|^my_|,|^$", value) or key in ("key", "PYTHONPATH"):
                continue
            if not (value in groups[key] if key in groups else known) and value != "AA_TI2T":
                unknown.append(word)
    assert unknown == []


# ---------------------------------------------------------------- docs/coming_from.md


def test_values_that_stand_for_those_of_other_programs_can_be_typed():
    """All values of the page, those of one algorithm together."""
    typed: dict[str, list[str]] = {}
    for one in spans("docs/coming_from.md"):
        words = shlex.split(one) if TYPED.match(one) and "<" not in one else []
        algo = next((word for word in words if word.startswith("algo=")), "algo=dpo")
        values = [word for word in words if "." in word.partition("=")[0] and not word.startswith("data.train.path")]
        if values and "data" not in words[0].partition("=")[0] and "quantization" not in one:
            typed.setdefault(algo, []).extend(values)
    assert len(typed) >= 2 and sum(map(len, typed.values())) >= 20
    for algo, values in typed.items():
        compose([algo, "modality=ti2t", *values])


def test_the_rooms_are_those_of_the_layers():
    floors = re.findall(r"^\| (\d+) \| (.+?) \|", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE)
    found = [set() for _ in FLOORS]
    for number, rooms in floors:
        found[int(number) - 1] |= {name.removesuffix(".py").strip("/") for name in re.findall(r"`([^`]+)`", rooms)}
    assert found == FLOORS
