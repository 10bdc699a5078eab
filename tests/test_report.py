"""What a reader of report.html sees, on run folders with known numbers."""

from __future__ import annotations

import base64
import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from aa_lightning.report import write_report
from aa_lightning.report.curves import MOST_POINTS, thin
from aa_lightning.report.findings import findings
from aa_lightning.report.heldout import measures, verdict
from aa_lightning.report.media import EMBEDDED_FILE
from aa_lightning.report.page import number, tag
from aa_lightning.report.plot import Curve, draw, running_mean, ticks, written
from aa_lightning.report.samples import LONG_TEXT
from aa_lightning.runs.reader import Run, differences, find_runs, frame
from run_folders import QUESTION, make_run, record_hydra, summary, write_json


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("report") / "12-00-00_dpo_ti2t")


@pytest.fixture(scope="module")
def html(run_folder: Path) -> str:
    return write_report(run_folder).read_text(encoding="utf-8")


class Tags(HTMLParser):
    """Opened and closed tags, and the addresses they load."""

    def __init__(self, document: str):
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.addresses: list[str] = []
        self.feed(document)

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append(name)
        self.addresses += [value for key, value in attributes if key in ("src", "href", "xlink:href") and value]
        if name not in ("img", "meta", "br"):
            self.open.append(name)

    def handle_startendtag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name


def points(document: str, metric: str) -> int:
    """How many points the raw curve of a metric has: one M or L command of its path each."""
    path = re.search(rf'id="curve:{re.escape(metric)}".*?<path [^>]*?d="([^"]*)"', document, re.S)
    assert path is not None
    return len(re.findall("[ML]", path.group(1)))


def edit_summary(folder: Path, **changes: object) -> Run:
    write_json(folder / "summary.json", summary(0.91, 0.1) | changes)
    return Run(folder)


# ---------------------------------------------------------------- the page


def test_the_page_is_well_formed_and_loads_nothing_from_elsewhere(html: str, run_folder: Path) -> None:
    tags = Tags(html)
    assert tags.open == []
    assert "script" not in tags.seen
    for address in tags.addresses:
        assert address.startswith(("data:image/png;base64,", "#")) or (run_folder / address).exists()


def test_the_headline_names_what_was_trained_and_the_change_with_its_sampling_error(html: str) -> None:
    # two standard errors of 134.12/258 and 233.96/258: 2 * sqrt((0.2496 + 0.0845) / 256) = 0.0723
    assert "<h1>dpo · tiny_llava · ti2t</h1>" in html
    assert "data shapes_ti2t · 600 steps · finished" in html
    assert (
        "It worked: held-out preference accuracy went from 52.0 % to 91.0 % (+39.0 points); "
        "with 256 examples up to 7.2 points may be chance."
    ) in html
    assert "The gain needs the media: with the media blanked the trained model reaches 55.0 %." in html


def test_the_heldout_table_shows_before_after_and_the_blanked_control(html: str) -> None:
    row = re.search(r"<tr><td>preference accuracy</td>.*?</tr>", html, re.S).group()
    assert re.findall(r"[\d.]+ %", row) == ["52.0 %", "91.0 %", "50.0 %", "55.0 %"]
    assert "<td>margin</td><td>0</td><td><b>1.75</b></td>" in html


def test_curves_have_one_point_per_logged_row(html: str) -> None:
    assert points(html, "train/loss") == 60
    assert points(html, "train/logp/rejected") == 60
    assert points(html, "val/loss") == 3
    assert points(html, "data/padding_share") == 60
    assert "curve:heldout/margin" not in html


def test_curves_take_their_colours_from_the_page_so_that_dark_mode_works(html: str) -> None:
    drawn = re.findall(r"<svg class=\"plot\".*?</svg>", html, re.S)
    assert len(drawn) > 5 and not any("style=" in svg or "stroke=" in svg or "fill=" in svg for svg in drawn)
    assert ".plot path.c1 { stroke: var(--c1); }" in html
    assert "prefers-color-scheme: dark" in html


def test_text_of_the_data_is_shown_and_never_becomes_markup(html: str) -> None:
    assert "What colour is the &lt;b&gt;shape&lt;/b&gt; &amp; where?" in html
    assert QUESTION not in html
    assert html.count("blue blue &lt;script&gt;alert(1)&lt;/script&gt;") == 2
    assert "cannot identify &lt;image&gt; file" in html


def test_pictures_are_inside_the_page_byte_for_byte(html: str, run_folder: Path) -> None:
    embedded = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    expected = [(run_folder / "samples" / f"prompt_{index}.png").read_bytes() for index in range(2)]
    assert [base64.b64decode(data) for data in embedded] == expected


def test_a_sample_shows_before_and_after_beside_the_answers_of_the_data(html: str) -> None:
    card = re.search(r"<article.*?</article>", html, re.S).group()
    assert re.findall("<h4>(.*?)</h4>", card) == ["user", "before", "after", "in the data", "expected answer"]
    assert "A red circle." in card


def test_long_texts_are_folded_without_losing_a_character(html: str) -> None:
    text = "A blue circle." + " And so on." * 90
    assert f"{len(text) - LONG_TEXT} more characters" in html
    assert text[:LONG_TEXT] in html
    assert text[LONG_TEXT:] in html


def test_costs_and_dropped_rows_and_the_command_are_there(html: str) -> None:
    tiles = dict(re.findall(r'<div class="tile"><b>(.*?)</b><span>(.*?)</span>', html))
    assert tiles == {
        "41.5": "prompts per second",
        "116": "seconds of training",
        "0.19": "seconds per step",
        "8.33": "% padding",
        "1.25": "GiB peak memory",
    }
    assert "Dropped rows (1)" in html
    assert "<td>17</td><td>image</td>" in html
    assert "<pre>python -m aa_lightning.train algo=dpo algo.beta=0.1</pre>" in html
    assert '<a href="export">export</a>' in html


def test_versions_of_the_run_win_over_those_of_the_reader(run_folder: Path, tmp_path: Path, html: str) -> None:
    folder = make_run(tmp_path / "run")
    edit_summary(folder, versions={"torch": "2.9.1"})
    assert "Ran with torch 2.9.1." in write_report(folder).read_text()
    assert "This page was written with Python" in html


# ---------------------------------------------------------------- runs that are not whole


def test_a_run_that_was_cut_off_is_reported_up_to_its_last_whole_row(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "cut", rows=10, finished=False)
    with (folder / "metrics.csv").open("a") as file:
        file.write("110,0,0.5,0.")
    html = write_report(folder).read_text()
    assert "The run did not finish: there is no summary.json; it logged 10 rows, the last at step 100." in html
    assert "It left no checkpoint to continue from." in html
    (folder / "checkpoints" / "last.ckpt").write_bytes(b"")
    assert f"type: python -m aa_lightning.train resume={folder}</p>" in write_report(folder).read_text()
    assert points(html, "train/loss") == 10
    assert "Samples" not in html
    assert "<h2>Held-out" not in html
    assert "<b>8.33</b><span>% padding" in html


def test_a_failed_run_shows_what_went_wrong_and_keeps_the_traceback(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "failed", rows=2, finished=False)
    (folder / "error.txt").write_text("no finite loss in <rows 3, 8>\ntype: optimizer.lr=1e-7\n\nTraceback\n")
    html = write_report(folder).read_text()
    assert "<p>The run failed: no finite loss in &lt;rows 3, 8&gt;\ntype: optimizer.lr=1e-7</p>" in html
    assert "type: optimizer.lr=1e-7\n\nTraceback</pre>" in html


def test_a_run_that_logged_nothing_still_has_a_page(tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    record_hydra(folder, ["algo=dpo"])
    html = write_report(folder).read_text()
    assert "it logged nothing" in html
    assert "<pre>python -m aa_lightning.train algo=dpo</pre>" in html


def test_values_that_are_not_finite_are_counted_and_leave_a_gap(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "nan", rows=3)
    (folder / "metrics.csv").write_text(
        "step,epoch,train/loss,train/lr\n1,0,0.7,nan\n2,0,nan,nan\n3,0,inf,\n4,0,0.5,nan\n"
    )
    html = write_report(folder).read_text()
    assert "train/loss is not finite in 2 of 4 rows, first at step 2." in html
    assert "train/lr is not finite in 3 of 3 rows, first at step 1." in html
    assert points(html, "train/loss") == 2
    assert "Learning rate" not in html


def test_media_that_are_missing_large_or_outside_of_the_run_are_not_embedded(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    (folder / "samples" / "clip.mp4").write_bytes(b"0000ftyp" + b"0" * EMBEDDED_FILE)
    parts = [
        {"type": "image", "image": "gone.png"},
        {"type": "image", "image": "../../secret.png"},
        {"type": "video", "video": "clip.mp4"},
    ]
    prompt = [{"role": "user", "content": [{"type": "text", "text": "?"}]}]
    write_json(folder / "samples" / "after.json", [{"id": "a", "prompt": prompt, "responses": {"policy": parts}}])
    html = write_report(folder).read_text()
    assert "image gone.png is missing" in html
    assert "image ../../secret.png is missing" in html
    assert '<video src="samples/clip.mp4" controls preload="metadata"' in html


def test_sound_is_embedded_as_a_player(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    (folder / "samples" / "beep.wav").write_bytes(b"RIFF0000WAVE")
    prompt = [{"role": "user", "content": [{"type": "audio", "audio": "beep.wav"}]}]
    write_json(folder / "samples" / "after.json", [{"id": "a", "prompt": prompt, "responses": {"policy": []}}])
    data = base64.b64encode(b"RIFF0000WAVE").decode()
    html = write_report(folder).read_text()
    assert re.search(rf'<audio src="data:audio/[a-z-]+;base64,{re.escape(data)}" controls', html)
    assert "(empty)" in html


def test_a_folder_that_is_no_run_says_what_is_missing_and_what_to_give(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ValueError, match=r"has no config.yaml \(it holds notes.txt\); give a folder that aa_lightning"):
        write_report(tmp_path)
    with pytest.raises(ValueError, match="there is no folder"):
        write_report(tmp_path / "nowhere")
    make_run(tmp_path / "day" / "run")
    with pytest.raises(ValueError, match=r"holds 1 of them: give one of them, for example .*day/run"):
        write_report(tmp_path)


def test_a_summary_that_was_cut_off_says_so(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    (folder / "summary.json").write_text('{"algo": "dp')
    with pytest.raises(ValueError, match=r"summary\.json is not valid JSON .* delete the file"):
        write_report(folder)


# ---------------------------------------------------------------- verdicts


@pytest.mark.parametrize(
    ("before", "after", "blank", "tone", "text"),
    [
        (0.50, 0.55, 0.5, "flat", "(+5.0 points); with 256 examples up to 8.8 points may be chance."),
        (
            0.80,
            0.60,
            0.5,
            "bad",
            "It got worse: held-out preference accuracy went from 80.0 % to 60.0 % (−20.0 points)",
        ),
        (
            0.50,
            0.90,
            0.9,
            "good",
            "But the gain does not come from the media: with the media blanked the trained model reaches 90.0 %",
        ),
        (
            0.50,
            0.90,
            0.8,
            "good",
            "Part of the gain needs no media: with the media blanked the trained model reaches 80.0 %.",
        ),
        (0.50, 0.90, 0.5, "good", "The gain needs the media: with the media blanked the trained model reaches 50.0 %."),
    ],
)
def test_the_verdict_weighs_chance_and_the_blanked_control(
    tmp_path: Path, before: float, after: float, blank: float, tone: str, text: str
) -> None:
    name = "heldout/preference_accuracy"
    numbers = {name: after, "heldout/blank/preference_accuracy": blank}
    run = edit_summary(make_run(tmp_path / "run"), before={name: before}, after=numbers)
    found, sentences = verdict(run)
    assert found == tone
    assert text in " ".join(sentences)


def told(folder: Path, **numbers: tuple[float, float, int]) -> tuple[str, list[str]]:
    """The verdict on measures given as before, after, examples."""
    named = {f"heldout/{name.replace('__', '/')}": given for name, given in numbers.items()}
    before, after, examples = ({name: given[place] for name, given in named.items()} for place in range(3))
    return verdict(edit_summary(make_run(folder), before=before, after=after, examples=examples))


def test_the_verdict_counts_the_examples_that_were_measured_and_not_those_asked_for(tmp_path: Path) -> None:
    """Four rows of 256 asked for, 1/4 and 3/4 taken as 2/6 and 4/6: 2 sqrt((2/9 + 2/9) / 4) = 2/3."""
    tone, (text,) = told(tmp_path / "run", preference_accuracy=(0.25, 0.75, 4))
    assert tone == "flat"
    assert text.endswith("(+50.0 points); with 4 examples up to 66.7 points may be chance.")
    assert re.search(r"<td>preference accuracy</td>.*<td>4</td>", write_report(tmp_path / "run").read_text())


def test_all_of_one_example_is_no_proof(tmp_path: Path) -> None:
    """0 and 1 of 1 taken as 1/3 and 2/3: 2 sqrt(4/9) = 4/3, and no share changes by more than all."""
    tone, (text,) = told(tmp_path / "run", answer_accuracy=(0.0, 1.0, 1))
    assert tone == "flat" and text.endswith("(+100.0 points); with 1 example up to 100.0 points may be chance.")


@pytest.mark.parametrize("name", ["answer_accuracy", "picture_accuracy", "sound_accuracy", "likelihood_accuracy"])
def test_a_main_measure_that_fell_is_named_and_spoils_the_success_of_another(tmp_path: Path, name: str) -> None:
    """0.9 and 0.3 of 128 taken as 116.2/130 and 39.4/130: 2 sqrt((0.0949 + 0.2112) / 128) = 0.0978."""
    numbers = {"preference_accuracy": (0.5, 0.9, 256), name: (0.9, 0.3, 128)}
    tone, (text, but) = told(tmp_path / "run", **numbers)
    assert tone == "flat"
    assert text.startswith("A mixed result: held-out preference accuracy went from 50.0 % to 90.0 %")
    label = name.replace("_", " ")
    assert but == (
        f"But {label} fell from 90.0 % to 30.0 % (−60.0 points); with 128 examples up to 9.8 points may be chance."
    )


def test_a_measure_that_stays_at_0_is_named(tmp_path: Path) -> None:
    numbers = {"preference_accuracy": (0.5, 0.9, 256), "harmless__answer_accuracy": (0.0, 0.0, 12)}
    tone, (text, but) = told(tmp_path / "run", **numbers)
    assert (tone, text.partition(":")[0]) == ("flat", "A mixed result")
    assert but == "But harmless · answer accuracy is 0 after training: not one of 12 is right."


def test_a_fall_within_chance_is_named_and_does_not_decide(tmp_path: Path) -> None:
    numbers = {
        "preference_accuracy": (0.5, 0.9, 256),
        "answer_accuracy": (0.5, 0.45, 16),
        "logp_rejected": (-1.0, -2.0, 256),
    }
    tone, (text, but) = told(tmp_path / "run", **numbers)
    assert (tone, text.partition(":")[0]) == ("good", "It worked")
    assert but.startswith("But answer accuracy fell from 50.0 % to 45.0 %") and but.endswith("may be chance.")


def test_nothing_gained_and_something_lost_is_bad(tmp_path: Path) -> None:
    numbers = {"preference_accuracy": (0.5, 0.51, 256), "logp_per_term": (-0.5, -0.9, 256)}
    tone, (text, but) = told(tmp_path / "run", **numbers)
    assert (tone, text.partition(":")[0]) == ("bad", "No clear effect")
    assert but == "But logp per term fell from −0.5 to −0.9 (−0.4)."


def test_no_verdict_without_a_number_before(tmp_path: Path) -> None:
    run = edit_summary(make_run(tmp_path / "run"), before={})
    tone, (text,) = verdict(run)
    assert tone == "none"
    assert text.startswith("Held-out preference accuracy is 91.0 %, but was measured only once")
    assert math.isnan(measures(run)[0].before)


def test_a_falling_loss_is_an_improvement(tmp_path: Path) -> None:
    run = edit_summary(make_run(tmp_path / "run"), before={"heldout/loss": 0.69}, after={"heldout/loss": 0.19})
    assert verdict(run) == ("good", ["It worked: held-out loss went from 0.69 to 0.19 (−0.5)."])


def test_displacement_and_overfitting_are_pointed_out(tmp_path: Path) -> None:
    # 60 rows: logp/chosen is −40 − 5 x, so the first six rows average −40.21 and the last six −44.71
    run = Run(make_run(tmp_path / "run"))
    assert any("fell from −40.21 to −44.71 while the reward margin grew" in text for text in findings(run))
    lines = ["step,epoch,val/loss", "10,0,0.7", "20,0,0.4", "30,0,0.6", ""]
    (run.folder / "metrics.csv").write_text("\n".join(lines))
    assert "val/loss was lowest at step 20 (0.4) and ended at 0.6: later steps overfit." in findings(Run(run.folder))


def test_padding_and_waiting_are_pointed_out_with_the_option_that_helps(tmp_path: Path) -> None:
    run = Run(make_run(tmp_path / "run"))
    run.folder.joinpath("metrics.csv").write_text(
        "step,epoch,time/step_s,time/data_s,data/padding_share\n1,0,0.5,0.2,0.4\n2,0,0.5,0.2,0.42\n3,0,9,0.2,0.1\n"
    )
    assert findings(run)[-2:] == [
        "40% of the tokens were padding: loader.group_by_length=true batches rows of similar length.",
        "40% of a step is waiting for data: more loader.workers read ahead, on cores that are free.",
    ]


def test_a_log_probability_is_neither_good_nor_bad(tmp_path: Path) -> None:
    numbers = {"heldout/logp_rejected": -40.0}
    folder = make_run(tmp_path / "run")
    edit_summary(folder, before={"heldout/logp_rejected": -50.0}, after=numbers)
    assert '<span class="flat">+10</span>' in write_report(folder).read_text()


# ---------------------------------------------------------------- pieces


def test_a_long_curve_is_thinned_to_means_of_neighbours() -> None:
    steps, values = thin(range(4 * MOST_POINTS), [0.0, 1.0, math.nan, 2.0] * MOST_POINTS)
    assert len(steps) == MOST_POINTS
    assert (steps[0], values[0]) == (1.5, 1.0)
    assert set(values) == {1.0}


@pytest.mark.parametrize(
    ("low", "high", "whole", "expected"),
    [
        (-30, 630, True, [0, 200, 400, 600]),
        (0.665, 0.735, False, [0.68, 0.7, 0.72]),
        (-0.15, 3.15, True, [0, 1, 2, 3]),
        (4.75, 5.25, True, [5]),
        (-1.1e-5, 1e-6, False, [-1e-5, -7.5e-6, -5e-6, -2.5e-6, 0]),
        (-3e38, 3e38, False, [-2e38, 0, 2e38]),
    ],
)
def test_ticks_are_few_round_and_evenly_placed(low: float, high: float, whole: bool, expected: list[float]) -> None:
    assert ticks(low, high, 6 if whole else 5, whole) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("numbers", "texts", "power"),
    [
        ([0.68, 0.7, 0.72], ["0.68", "0.70", "0.72"], ""),
        ([-5, 0, 5], ["−5", "0", "5"], ""),
        ([0, 2.5e-6, 5e-6], ["0.0", "2.5", "5.0"], "×10⁻⁶"),
        ([0, 100_000, 200_000], ["0", "1", "2"], "×10⁵"),
        ([0], ["0"], ""),
    ],
)
def test_numbers_of_an_axis_have_the_digits_that_tell_them_apart(numbers, texts, power) -> None:
    assert written(numbers) == (texts, power)


def test_a_panel_has_every_value_at_its_place() -> None:
    """Steps 0 to 10 with a room of 0.5 on 370 pixels from 60; values 1 to 3 with a room of 0.1 on 184 pixels up from 212."""
    svg = draw("Loss <b>", [Curve("train/loss", "", "c1", False, [0, 5, 10], [1.0, 3.0, 2.0])])
    assert 'd="M76.8 203.6h0L245.0 36.4L413.2 120.0"' in svg and 'aria-label="Loss &lt;b&gt;"' in svg
    written_there = re.findall("<text.*?>(.*?)</text>", svg)
    assert written_there == ["1.0", "1.5", "2.0", "2.5", "3.0", "0", "2", "4", "6", "8", "10"]
    assert "circle" not in svg


def test_what_is_missing_leaves_a_gap_and_a_point_alone_is_a_dot() -> None:
    values = [math.nan, 1.0, math.inf, 2.0, 3.0, 1e308]
    svg = draw("", [Curve("a", "", "c1", False, range(6), values)])
    assert re.sub(r"[\d.]+ [\d.]+", "·", re.search(' d="(.*?)"', svg)[1]) == "M·h0M·h0L·"
    assert draw("", [Curve("a", "", "c1", True, range(6), values)]).count("<circle") == 3


@pytest.mark.parametrize("value", [0.0, -1.0, 5e-324, 1e299])
def test_a_curve_of_one_value_is_drawn_in_the_middle(value: float) -> None:
    svg = draw("", [Curve("a", "", "c2", False, [7], [value])])
    assert '<circle class="c2" cx="245.0" cy="120.0"' in svg


def test_a_long_curve_has_its_running_mean_on_top() -> None:
    svg = draw("", [Curve("a", "", "c1", False, range(40), [0.0, 1.0] * 20)])
    raw, smooth = re.findall('<path class="(.*?)" d="(.*?)"', svg)
    assert (raw[0], smooth[0]) == ("c1 faint", "c1")
    middle = re.search(r"L[\d.]+ ([\d.]+)L", smooth[1])[1]  # of 0 and 1 is in the middle of the axis
    assert middle == "120.0"


def test_a_running_mean_looks_back_only() -> None:
    assert running_mean([1.0, 3.0, math.nan, 7.0], 2) == [1.0, 2.0, 3.0, 7.0]


def test_numbers_have_four_digits_and_attributes_are_escaped() -> None:
    assert [number(x) for x in (0.123456, -2, 51234.5, 1e-6, math.nan)] == ["0.1235", "−2", "51,234", "1e−06", "–"]
    assert tag("img", alt='"><script>') == '<img alt="&quot;&gt;&lt;script&gt;">'


def test_runs_are_found_in_natural_order_and_compared_by_what_differs(tmp_path: Path) -> None:
    for index, beta in ((10, 0.5), (2, 0.1)):
        make_run(tmp_path / "sweep" / f"{index}_beta={beta}", beta=beta, after=0.9)
    runs = find_runs(tmp_path)
    assert [run.name for run in runs] == ["2_beta=0.1", "10_beta=0.5"]
    assert differences(runs) == {"algo.beta": [0.1, 0.5]}
    assert frame(runs)[1]["preference_accuracy after"] == 0.9
    assert runs[0].series("val/loss")[0] == [10, 210, 410]


def test_reading_runs_and_writing_reports_needs_no_torch(run_folder: Path) -> None:
    code = "import sys, aa_lightning.report.sweep, aa_lightning.report as report; "
    code += f"report.write_report({str(run_folder)!r})"
    loaded = subprocess.run(
        [sys.executable, "-c", f"{code}; print('torch' in sys.modules)"], capture_output=True, text=True
    )
    assert loaded.stdout == "False\n", loaded.stderr


def test_the_command_writes_the_page_and_explains_a_wrong_folder(run_folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "aa_lightning.report"]
    good = subprocess.run([*command, str(run_folder)], capture_output=True, text=True)
    assert good.stdout == f"{run_folder / 'report.html'}\n"
    bad = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True)
    assert bad.returncode == 1
    assert bad.stderr.startswith("error: ") and "is no run folder" in bad.stderr
