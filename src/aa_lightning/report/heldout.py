"""Held-out numbers in a report: a measure before and after, beside what a model with blanked media reaches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from aa_lightning.evaluation.catalogue import MEASURES, Meaning, meaning_of
from aa_lightning.report.page import Html, number, section, table, tag
from aa_lightning.runs.reader import HELDOUT, Run
from aa_lightning.runs.received import resume_command

Tone = Literal["good", "bad", "flat", "none"]
BLANK = "blank/"


@dataclass(frozen=True)
class Measure:
    """One held-out measure, and the same with blanked media (NaN where not measured).

    Attributes:
        examples: that it is the mean of; None where a run did not write it down.
    """

    name: str
    before: float
    after: float
    blank_before: float = math.nan
    blank_after: float = math.nan
    examples: int | None = None

    @property
    def label(self) -> str:
        return self.name.replace("_", " ").replace("/", " · ")

    @property
    def meaning(self) -> Meaning:
        return meaning_of(self.name)

    @property
    def gain(self) -> float:
        return self.meaning.better * (self.after - self.before)

    @property
    def fell(self) -> bool:
        return self.gain < 0

    @property
    def is_nothing(self) -> bool:
        """Tell whether no example at all is right after training."""
        return self.meaning.share and self.after == 0

    def show(self, value: float) -> str:
        return f"{100 * value:.1f} %" if self.meaning.share and math.isfinite(value) else number(value)

    def show_change(self) -> str:
        change = self.after - self.before
        if math.isnan(change):
            return "–"
        if self.meaning.share:
            points = f"{100 * change:+.1f}".replace("-", "−")
            return f"{'0.0' if points[1:] == '0.0' else points} points"
        return f"{'+' if change > 0 else ''}{number(change)}"

    @property
    def chance(self) -> float:
        """The change that sampling alone may cause: two standard errors of a difference of shares, or 0.

        Shares are taken as if one more example were right and one more wrong (Agresti and Coull), or 0 of 2 would be certain.
        """
        n = self.examples
        if not self.meaning.share or not n:
            return 0.0
        smooth = [(n * share + 1) / (n + 2) for share in (self.before, self.after)]
        return min(1.0, 2 * math.sqrt(sum(share * (1 - share) for share in smooth) / n))

    @property
    def is_clear(self) -> bool:
        """Tell whether it moved farther than chance may carry it."""
        return abs(self.gain) > max(self.chance, 1e-9)

    def moved(self) -> str:
        """From where to where it went, and how far chance alone may carry it."""
        of = "1 example" if self.examples == 1 else f"{self.examples} examples"
        chance = f"; with {of} up to {100 * self.chance:.1f} points may be chance" if self.chance else ""
        return f"from {self.show(self.before)} to {self.show(self.after)} ({self.show_change()}){chance}"


def measures(run: Run) -> list[Measure]:
    """The held-out measures of a run, the one that matters most first."""
    plain = {name: pair for name, pair in run.heldout.items() if not name.startswith(BLANK)}
    missing, examples = (math.nan, math.nan), run.summary.get("examples") or {}
    found = [
        Measure(name, *pair, *run.heldout.get(BLANK + name, missing), examples.get(HELDOUT + name))
        for name, pair in plain.items()
    ]
    rank = {name: place for place, name in enumerate(MEASURES)}
    return sorted(found, key=lambda measure: rank.get(measure.name, len(rank)))


def verdict(run: Run) -> tuple[Tone, list[str]]:
    """Judge in sentences whether it worked, and how good that is."""
    if run.status == "failed":
        return "bad", ["The run failed: " + str(run.error).partition("\n\n")[0]]
    if run.status == "unfinished":
        return "none", [_unfinished(run)]
    found = measures(run)
    if not found:
        return "none", ["Nothing was measured on held-out data, so nothing here can say whether it worked."]
    main, *others = found
    if math.isnan(main.gain):
        known = main.after if math.isnan(main.before) else main.before
        text = f"Held-out {main.label} is {main.show(known)}, but was measured only once, so it does not show what "
        return "none", [text + "training did. Set evaluation.before=true."]
    against = [measure for measure in others if measure.meaning.main and (measure.fell or measure.is_nothing)]
    tone, text = _compare(main, any(measure.is_nothing or measure.is_clear for measure in against))
    control = _control(main) if main.gain > 0 and main.is_clear else None
    return tone, [text, *map(_doubt, against), *([] if control is None else [control])]


def _unfinished(run: Run) -> str:
    steps, _ = run.series("train/loss")
    reached = f"it logged {len(steps)} rows, the last at step {steps[-1]}" if steps else "it logged nothing"
    told = f"The run did not finish: there is no summary.json; {reached}. "
    checkpoints = run.place.checkpoints
    if not (checkpoints.is_dir() and any(checkpoints.iterdir())):
        return told + "It left no checkpoint to continue from."
    return f"{told}To continue at its last checkpoint, type: {resume_command(run.folder)}"


def _compare(main: Measure, lost: bool) -> tuple[Tone, str]:
    """Judge the first measure.

    Args:
        lost: whether another one fell clearly, or is at 0.
    """
    moved = f"held-out {main.label} went {main.moved()}."
    if not main.is_clear:
        return "bad" if lost else "flat", f"No clear effect: {moved}"
    if main.fell:
        return "bad", f"It got worse: {moved}"
    return ("flat", f"A mixed result: {moved}") if lost else ("good", f"It worked: {moved}")


def _doubt(measure: Measure) -> str:
    """Find what speaks against a success in another measure than the first."""
    if measure.fell:
        return f"But {measure.label} fell {measure.moved()}."
    of = f" of {measure.examples}" if measure.examples else ""
    return f"But {measure.label} is 0 after training: not one{of} is right."


def _control(main: Measure) -> str | None:
    """Measure what part of a gain needs the media: the gap between seeing and blanked, against the gain."""
    if math.isnan(main.blank_after):
        return None
    needed = main.meaning.better * (main.after - main.blank_after)
    control = f"with the media blanked the trained model reaches {main.show(main.blank_after)}"
    if needed >= main.gain / 2:
        return f"The gain needs the media: {control}."
    if needed > main.gain / 10:
        return f"Part of the gain needs no media: {control}."
    return f"But the gain does not come from the media: {control}, so it learned a shortcut in the rest of the data."


# ---------------------------------------------------------------- drawing


def heldout_section(run: Run) -> Html | None:
    found = measures(run)
    if not found:
        return None
    blank = any(not math.isnan(measure.blank_after + measure.blank_before) for measure in found)
    counted = any(measure.examples is not None for measure in found)
    head = ["measure", "before", "after", "change"]
    head += [*(["blanked before", "blanked after"] if blank else []), *(["examples"] if counted else []), ""]
    rows = [[*_cells(measure, blank), *_count(measure, counted), _dumbbell(measure)] for measure in found]
    note = "○ before  ● after" + ("  ❘ after, with the media blanked" if blank else "")
    return section("Held-out", table(head, rows, class_="numbers"), tag("p", note, class_="note"))


def _cells(measure: Measure, blank: bool) -> list[str]:
    tone = "flat" if not measure.is_clear else "bad" if measure.fell else "good"
    change = tag("span", measure.show_change(), class_=tone)
    controls = [measure.show(measure.blank_before), measure.show(measure.blank_after)] if blank else []
    return [measure.label, measure.show(measure.before), tag("b", measure.show(measure.after)), change, *controls]


def _count(measure: Measure, counted: bool) -> list[str]:
    return ["–" if measure.examples is None else f"{measure.examples:,}"] if counted else []


def _dumbbell(measure: Measure) -> Html:
    """A track from 0 to 100 % with before, after and the blanked control on it."""
    if not measure.meaning.share or math.isnan(measure.after):
        return Html("")
    before = measure.after if math.isnan(measure.before) else measure.before
    x0, x1 = (6 + 188 * min(max(value, 0), 1) for value in (before, measure.after))
    marks = [
        '<line class="track" x1="6" x2="194" y1="9" y2="9"/>',
        f'<line class="move" x1="{x0:.1f}" x2="{x1:.1f}" y1="9" y2="9"/>',
        f'<circle class="from" cx="{x0:.1f}" cy="9" r="4"/><circle class="to" cx="{x1:.1f}" cy="9" r="4.5"/>',
    ]
    if not math.isnan(measure.blank_after):
        x = 6 + 188 * min(max(measure.blank_after, 0), 1)
        marks.append(f'<line class="blank" x1="{x:.1f}" x2="{x:.1f}" y1="2" y2="16"/>')
    return Html(f'<svg class="dumbbell" viewBox="0 0 200 18" aria-hidden="true">{"".join(marks)}</svg>')
