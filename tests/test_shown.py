"""Text of others is shown and does nothing: markup in pages, control sequences in terminals, formulas in spreadsheets."""

from __future__ import annotations

import ast
import csv
import io
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import aa_lightning
from aa_lightning import train
from aa_lightning.assembly.chat import show
from aa_lightning.launch import job
from aa_lightning.report import write_report
from aa_lightning.report.media import media_type
from aa_lightning.report.samples import side_by_side
from aa_lightning.report.sweep import table, write_sweep
from aa_lightning.runs.reader import Run, find_runs
from aa_lightning.system import console
from aa_lightning.system.console import paint, say, show_table
from aa_lightning.system.shown import inert, of_inert, one_line, printable
from aa_lightning.training.callbacks.csv_logger import MetricsCsv
from run_folders import make_run, record_hydra, summary, write_json

MARKUP = "\"'></title></p><script>document.title='marked'</script><img src=x onerror=\"document.title='marked'\"><a href=//x>"
STEERING = (
    "\x1b[2J\x1b]0;marked\x07\x9b31m\u202emarked\u2066\rmarked\x08\x00\u2028\ud800 [bold]marked[/bold] [/] :boom:"
)
FORMULAS = ["=1+marked", "+marked", "-marked", "@marked", "\t=marked", "\r=marked", "＝marked", "'=marked"]
ACTIVE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029\ud800-\udfff]")
STYLE = re.compile("\x1b\\[[0-9;]*m")  # the colours of our own tables
BEGINS = tuple("=+-@\t\r\n＝＋－＠")  # of what a spreadsheet takes for a formula
OTHERS = MARKUP + STEERING
PACKAGE = Path(aa_lightning.__file__).parent


# ---------------------------------------------------------------- the rooms


@given(st.text())
def test_printable_text_steers_nothing_and_keeps_all_other_letters(text):
    shown = printable(text)
    assert not ACTIVE.search(shown)
    assert "\n" not in one_line(text)
    if not ACTIVE.search(text):
        assert shown == text


@pytest.mark.parametrize("text", ["שלום\u200f!", "naïve — 漢字", "👩\u200d🔬", "two\nlines\tand a tab"])
def test_letters_of_all_languages_stay(text):
    assert printable(text) == text


@given(st.one_of(st.text(), st.sampled_from(FORMULAS)))
def test_a_cell_is_no_formula_and_comes_back(text):
    cell = inert(text)
    assert of_inert(cell) == one_line(text)
    assert not cell.startswith(BEGINS) or (_number(text) and cell == text)


def _number(text):
    try:
        return text.isascii() and text.strip() == text and bool(repr(float(text)))
    except ValueError:
        return False


@pytest.mark.parametrize("cell", ["-0.5", "+3", "-inf", "1e-5", -0.5])
def test_numbers_stay_numbers(cell):
    assert inert(cell) == str(cell)


def test_no_module_prints_but_what_is_printable():
    bare = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                bare += [f"{path.name}:{node.lineno}" for argument in node.args if not _harmless(argument)]
    assert bare == []


def _harmless(argument):
    if isinstance(argument, ast.JoinedStr):
        return all(_harmless(piece.value) for piece in argument.values if isinstance(piece, ast.FormattedValue))
    made = argument.func if isinstance(argument, ast.Call) else None
    return isinstance(argument, ast.Constant) or ast.unparse(made or argument) in ("printable", "json.dumps")


# ---------------------------------------------------------------- pages


class Elements(HTMLParser):
    """Every element and attribute of a page."""

    def __init__(self, document):
        super().__init__()
        self.names, self.attributes = set(), []
        self.feed(document)

    def handle_starttag(self, name, attributes):
        self.names.add(name)
        self.attributes += [(name, key, value or "") for key, value in attributes]

    handle_startendtag = handle_starttag


OURS = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "main",
        "header",
        "section",
        "article",
        "div",
        "p",
        "span",
        "b",
    ),
    *("h1", "h2", "h3", "h4", "i", "a", "img", "audio", "video", "table", "thead", "tbody", "tr", "th", "td", "pre"),
    *("details", "summary", "ul", "li", "figure", "figcaption"),
    *("svg", "g", "path", "defs", "clippath", "rect", "use", "text", "line", "circle", "tspan"),
}


def check_page(document):
    """Elements and addresses are ours; text of others is nothing but text."""
    found = Elements(document)
    assert found.names <= OURS
    assert not [one for one in found.attributes if one[1].startswith("on")]
    for _, key, value in found.attributes:
        if key in ("href", "src", "xlink:href"):
            assert re.match(r"data:(image|audio|video)/\w+;base64,|#|[\w./%-]+$", value), value
    assert "marked" in document and "\\x1b" in document
    assert not ACTIVE.search(document)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A sweep of two runs in which every text that others may choose is hostile."""
    sweep = tmp_path_factory.mktemp("sweep") / ("of <b>\x1b[2J" + FORMULAS[0])
    for number in range(2):
        folder = make_run(sweep / f"{number}_{MARKUP[:20].replace('/', '')}\u202e")
        shutil.rmtree(folder / ".hydra")
        record_hydra(folder, [f"algo={OTHERS}", f"{FORMULAS[0]}={FORMULAS[number]}"])
        (folder / "config.yaml").write_text(f"text: {json.dumps(OTHERS)}\n")
        _spoil(folder, number)
    return sweep


def _spoil(folder, number):
    told = summary(0.9, 0.1)
    for moment in ("before", "after"):
        told[moment] |= {f"heldout/{OTHERS}": 0.1, f"heldout/blank/{OTHERS}": 0.1}
    told["dropped"] = [{"row": OTHERS, "column": OTHERS, "reason": OTHERS}]
    told["versions"] = {OTHERS: OTHERS}
    told["changed"] = [{"key": OTHERS, "value": OTHERS, "default": OTHERS, "from": OTHERS}]
    if number == 0:
        write_json(folder / "summary.json", told)
    else:
        (folder / "summary.json").unlink()
        (folder / "error.txt").write_text(OTHERS, encoding="utf-8", errors="surrogatepass")
    log = MetricsCsv(folder / "metrics.csv")
    for step in (1000, 1010, 1020):
        log.log_metrics({f"train/{OTHERS}": float("nan") if step == 1010 else 0.5, FORMULAS[0]: 0.5}, step)
    _spoil_samples(folder)


def _spoil_samples(folder):
    samples = folder / "samples"
    Image.new("RGB", (4, 4)).save(samples / "a &'%00#.png")
    (samples / "drawn.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (samples / "page.html").write_text("<p>a page</p>")
    (samples / "page.png").write_text("<p>a page</p>")
    names = [OTHERS, "a &'%00#.png", "drawn.svg", "page.html", "page.png"]
    media = [{"type": kind, kind: name} for kind in ("image", "audio", "video") for name in names]
    content = [*media, {"type": "text", "text": OTHERS}, {"type": OTHERS, OTHERS: OTHERS}]
    for moment in ("before", "after"):
        said = {"data": content, OTHERS: content, "policy": [{"type": "text", "text": OTHERS + "x" * 700}]}
        row = {"id": OTHERS, "answer": OTHERS, "prompt": [{"role": OTHERS, "content": content}], "responses": said}
        write_json(samples / f"{moment}.json", [row])


@pytest.fixture(scope="module")
def pages(hostile):
    """The reports of both runs, the page of the sweep, and a table for notebooks."""
    runs = find_runs(hostile)
    reports = [write_report(run.folder) for run in runs]
    return {"finished": reports[0], "failed": reports[1], "sweep": write_sweep(hostile)}


@pytest.mark.parametrize("name", ["finished", "failed", "sweep"])
def test_a_page_holds_no_element_attribute_or_address_of_others(name, pages):
    check_page(pages[name].read_text(encoding="utf-8"))


def test_samples_side_by_side_hold_no_element_of_others_either(hostile, pages):
    check_page(side_by_side(find_runs(hostile)))


def test_only_media_are_shown_or_linked(pages):
    document = pages["finished"].read_text(encoding="utf-8")
    assert 'href="samples/a%20%26%27%2500%23.png"' in document
    linked = re.findall(r'(?:href|src)="samples/([^"]*)"', document)
    assert not [name for name in linked if name.endswith((".svg", ".html")) or name == "page.png"]
    assert "image drawn.svg is not shown" in document and "video page.png is not shown" in document


@pytest.mark.parametrize(
    ("name", "begins", "found"),
    [
        ("a.png", b"\x89PNG\r\n\x1a\n....", "image/png"),
        ("a.WAV", b"RIFF\n\n\n\nWAVE", "audio/wav"),
        ("a.webp", b"RIFF....WEBP", "image/webp"),
        ("a.png", b"<svg/>", None),
        ("a.svg", b"\x89PNG\r\n\x1a\n....", None),
        ("a", b"\x89PNG\r\n\x1a\n....", None),
        ("a.gif", b"", None),
    ],
)
def test_a_medium_is_what_its_ending_and_its_first_bytes_agree_on(name, begins, found, tmp_path):
    (tmp_path / name).write_bytes(begins)
    assert media_type(tmp_path / name) == found


BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")


@pytest.mark.skipif(BROWSER is None, reason="no browser")
@pytest.mark.slow
@pytest.mark.parametrize("name", ["finished", "failed", "sweep"])
def test_in_a_browser_a_page_runs_nothing_even_a_script_that_gets_into_it(name, pages, tmp_path):
    document = pages[name].read_text(encoding="utf-8")
    titles = {}
    for case, added in (("as it is", ""), ("with a script", "<script>document.title='ran'</script>")):
        path = pages[name].with_name(f"opened {case}.html")
        path.write_text(document.replace("</body>", f"{added}</body>"), encoding="utf-8")
        titles[case] = re.search("<title>(.*?)</title>", _opened(path, tmp_path), re.S)[1]
    plain = tmp_path / "plain.html"
    plain.write_text("<title>not run</title><script>document.title='ran'</script>")
    assert "<title>ran</title>" in _opened(plain, tmp_path)  # it does run scripts
    assert titles["as it is"] == titles["with a script"]
    assert titles["as it is"] not in ("ran", "marked")


def _opened(path, folder):
    """The document as it stands in a browser."""
    quiet = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    done = subprocess.run(
        [BROWSER, *quiet, "--virtual-time-budget=3000", "--dump-dom", path.absolute().as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


# ---------------------------------------------------------------- spreadsheets


def test_no_cell_of_a_table_for_spreadsheets_is_a_formula(hostile, pages):
    for path in (hostile / "sweep.csv", *(run.folder / "metrics.csv" for run in find_runs(hostile))):
        with path.open(newline="", encoding="utf-8") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert any("marked" in cell for cell in cells)
        assert not [cell for cell in cells if cell.startswith(BEGINS) and not _number(cell)]


def test_metrics_with_odd_names_are_read_back_and_go_on(tmp_path):
    path = tmp_path / "metrics.csv"
    MetricsCsv(path).log_metrics({"=a": 1.0, "two\nlines": 2.0}, 1)
    again = MetricsCsv(path)
    again.log_metrics({"=a": 3.0, "two\nlines": 4.0}, 2)
    again.log_metrics({"new": 5.0}, 2)
    assert again.latest("=a") == {"=a": 3.0}
    (tmp_path / "config.yaml").write_text("{}")
    assert Run(tmp_path).series("=a") == ([1, 2], [1.0, 3.0])
    assert Run(tmp_path).series("two\\nlines") == ([1, 2], [2.0, 4.0])
    assert path.read_text().splitlines()[0] == "step,epoch,'=a,two\\nlines,new"


# ---------------------------------------------------------------- terminals


def check_terminal(shown):
    shown = STYLE.sub("", shown)
    assert "marked" in shown
    assert not ACTIVE.search(shown), ACTIVE.findall(shown)
    assert "[bold]marked[/bold] [/] :boom:" in shown.replace("\n", "")


@pytest.fixture
def screen(monkeypatch):
    """What the console writes to a terminal with colours."""
    out = io.StringIO()
    monkeypatch.setattr(
        console._console, "_file", out
    )  # not the property, whose value of now would be put back for good
    monkeypatch.setattr(console._console, "_force_terminal", True, raising=False)
    monkeypatch.setattr(console._console, "_width", 4000, raising=False)
    return out


@pytest.mark.parametrize(
    "tell",
    [
        lambda: say(OTHERS),
        lambda: show_table(OTHERS, [OTHERS, "n"], [[OTHERS, OTHERS]]),
        lambda: paint([(OTHERS, "bold"), (OTHERS, "green")]),
    ],
    ids=["line", "table", "colours"],
)
def test_the_console_is_not_steered(tell, screen):
    tell()
    check_terminal(screen.getvalue())


def test_answers_of_a_model_are_not_obeyed(capsys, tmp_path):
    show([[{"type": "text", "text": OTHERS}]], tmp_path)
    check_terminal(capsys.readouterr().out)


def test_errors_and_their_stories_are_not_obeyed(capsys, tmp_path):
    try:
        raise KeyError(OTHERS) from ValueError(OTHERS)
    except KeyError as error:
        job._report(error, tmp_path, alone=True)
    check_terminal(capsys.readouterr().err)
    check_terminal((tmp_path / "error.txt").read_text())


def test_the_table_of_a_sweep_is_not_steered(hostile):
    shown = table(find_runs(hostile))
    assert not ACTIVE.search(shown)
    assert len(shown.splitlines()) == 5


@pytest.mark.parametrize("typed", ["algo.betta={}", "algo.beta={}", "{}", "algo={}", "{}=3", "init=stage:{}", "--{}"])
def test_what_was_mistyped_is_echoed_and_not_obeyed(typed, capsys, monkeypatch, tmp_path):
    steering = "\x1b[2J\x9b31m\u202emarked\rmarked\x08"
    monkeypatch.setattr(sys, "argv", ["train", typed.format(steering), f"output={tmp_path}"])
    with pytest.raises(SystemExit):
        train.main()
    told = capsys.readouterr()
    assert "marked" in told.err
    assert not ACTIVE.search(told.err + told.out)


@pytest.fixture
def rows(tmp_path):
    """Rows that would steer a terminal; the last one is left out."""
    name = STEERING.replace("\x00", "").replace("\ud800", "")
    row = {"prompt": name, "chosen": name, "rejected": "no", f"odd {name}": 1}
    bad = {**row, "chosen": {name: name}}
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(one) for one in [row] * 24 + [bad]))
    return ["data=local", f"data.train.path={path}", "modality=t2t", "data.on_bad_row=skip"]


def check_written(written):
    """What a command wrote to a terminal, its own colours and bars aside."""
    ours = re.compile("\r|\x1b\\[[AKC]")
    check_terminal(ours.sub("", written.replace("\r\n", "\n")) + "[bold]marked[/bold] [/] :boom:")


def test_check_shows_rows_in_a_terminal_and_obeys_none(rows, tmp_path):
    code, shown = in_terminal("check", tmp_path, *rows)
    assert code == 0, shown
    check_written(shown)
    assert "\\x1b[2J" in shown and "left out 1" in shown


@pytest.mark.slow
def test_a_run_an_evaluation_and_an_answer_obey_no_row_anywhere(rows, tmp_path):
    """With bars; what the run leaves is looked at too."""
    run = tmp_path / "run"
    measured = [
        "evaluation.num_examples=4",
        "evaluation.num_generations=4",
        "evaluation.samples=4",
        "evaluation.max_new_tokens=8",
    ]
    short = ["init=null", "trainer.max_steps=3", "trainer.log_every_n_steps=1", *measured, "data.val_share=0.2"]
    steering = "\x1b[2J\x9b31m\u202emarked [bold]marked[/bold] [/] :boom:"
    for command, typed in {
        "train": [*rows, *short, f"hydra.run.dir={run}"],
        "evaluate": [f"run={run}", f"hydra.run.dir={tmp_path / 'measured'}"],
        "generate": [f"run={run}", f"prompt={steering}", "max_new_tokens=8", f"hydra.run.dir={tmp_path / 'answered'}"],
    }.items():
        code, shown = in_terminal(command, tmp_path, *typed)
        assert code == 0, shown
        check_written(shown + "marked")
    page = (run / "report.html").read_text(encoding="utf-8")
    check_page(page)
    for path in (run / "train.log", run / "metrics.csv"):
        assert not ACTIVE.search(path.read_text(encoding="utf-8"))


def in_terminal(name, folder, *typed):
    """Exit code and all that a command writes to a terminal."""
    command = [sys.executable, "-W", "ignore", "-m", f"aa_lightning.{name}", *typed]
    ours, theirs = pty.openpty()
    env = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), "COLUMNS": "400"}
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, cwd=folder, env=env)
    os.close(theirs)
    written = b""
    while True:
        try:
            written += os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
    os.close(ours)
    return process.wait(), written.decode("utf-8", "surrogateescape")
