"""Yes and no by three rules."""

import pytest

from tests.scoring.support import asked, cases, part


@pytest.mark.parametrize("context, given, expected", cases("yes_no"))
def test_each_rule_reads_what_its_benchmark_does(context, given, expected):
    said = [part("extract", name)(given["response"], asked()) for name in ("yesno_pope", "yesno_words", "yesno_prefix")]
    official = [expected[rule].lower() for rule in ("pope", "vlmeval", "mme")]
    assert said == [None if word in ("unknown", "other") else word for word in official]


@pytest.mark.parametrize(
    "name, said, word",
    [
        ("yesno_pope", "NO", "yes"),  # capitals are no No
        ("yesno_pope", "\nno", "yes"),  # a line's end separates no words
        ("yesno_words", "yes/no", None),
        ("yesno_words", "yes, 1,000 of them", "yes"),
        ("yesno_words", "1,000-no", None),  # digits with a comma between: every sign goes, and the word is 1000no
        ("yesno_words", "it-no", "no"),
        ("yesno_prefix", "I know", None),
        ("yesno_prefix", "note", "no"),
        ("yesno_prefix", "x", None),
        ("yesno_prefix", ". y", None),
    ],
)
def test_yes_and_no_at_the_borders_of_a_rule(name, said, word):
    assert part("extract", name)(said, asked()) == word
