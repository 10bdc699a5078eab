"""Numbers of tables of scored rows."""

import pytest

from tests.scoring.support import part, row


def test_a_mean_is_over_rows_and_over_those_of_each_group():
    rows = [row(1, split="easy"), row(0, split="easy"), row(1, split="easy"), row(0, split="hard")]
    assert part("aggregate", "mean")(rows) == {"mean": 0.5}
    found = part("aggregate", {"name": "mean", "key": "accuracy", "by": "split"})(rows)
    assert found == pytest.approx({"accuracy": 0.5, "accuracy/easy": 2 / 3, "accuracy/hard": 0})


def test_always_a_is_right_in_no_circle_and_in_one_rotation_of_four():
    """Rotations 0 … 3 of a question have the answers A, B, C, D."""
    rows = [row(float(k == 0), index=7 + k * 1_000_000, kind="logic") for k in range(4)]
    circular = part("aggregate", {"name": "all_in_group", "by": "index", "modulo": 1_000_000, "per": "kind"})
    assert circular(rows) == {"all_in_group": 0, "all_in_group/logic": 0}
    assert part("aggregate", "mean")(rows) == {"mean": 0.25}
    assert circular([row(1, index=7, kind="x"), row(1, index=1_000_007, kind="x")])["all_in_group"] == 1


def test_a_column_or_score_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(ValueError, match="no column subject to group by; there is: split"):
        part("aggregate", {"name": "mean", "by": "subject"})([row(split="easy")])
    with pytest.raises(ValueError, match="no score anls; its scorer gives score"):
        part("aggregate", {"name": "mean", "of": "anls"})([row()])
    with pytest.raises(ValueError, match="no scored rows"):
        part("aggregate", "mean")([])
