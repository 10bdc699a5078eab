"""Texts, numbers, formulas, objects."""

import json
import time

import pytest
from pydantic import TypeAdapter, ValidationError

from aa_lightning.scoring.extractors import Extractor
from aa_lightning.scoring.mathvista import in_form
from aa_lightning.scoring.normalising import evalai
from tests.scoring.support import asked, cases, part

ABCD = dict(zip("ABCD", ("3/11", "8/11", "6/11", "3/5"), strict=True))
MMLU_PRO = {"name": "regex", "pattern": r"answer is \(?([ABCDEFGHIJ])\)?"}
NAMES = TypeAdapter(Extractor).json_schema()["discriminator"]["mapping"]
GSM8K = {"name": "regex", "pattern": r"(-?[$0-9.,]{2,})|(-?[0-9]+)", "which": "last"}
COCO = {
    "name": "objects",
    "synonyms": {
        "hot dog": [],
        "dog": ["puppy"],
        "person": ["man", "woman"],
        "bus": [],
        "knife": [],
        "tie": ["bow tie"],
    },
}


@pytest.mark.parametrize("context, given, expected", cases("vqa_evalai_normalize"))
def test_evalai_normalises_as_the_vqa_challenge_does(context, given, expected):
    assert evalai(given["text"]) == expected["normalized"]


@pytest.mark.parametrize(
    "said, normal",
    [
        ("5.", "5"),
        ("5.x.2", "5x.2"),
        ("none", "0"),
        ("ten\tmen", "10 men"),
        ("it-is", "it is"),
        ("it - is", "it is"),
        ("a-b - c", "ab c"),  # beside a space somewhere: taken away everywhere
        ("couldntve", "couldntve"),
        ("couldn'tve", "couldn't've"),
        ("couldnt've", "couldn't've"),
        ("somebody'd", "somebodyd"),
        ("oclock", "o'clock"),
        ("that's", "that 's"),
        ("im", "im"),
        ("1,000", "1000"),
    ],
)
def test_evalai_at_the_borders_of_its_rules(said, normal):
    assert evalai(said) == normal


@pytest.mark.parametrize("context, given, expected", cases("mmmu_open_parse"))
def test_mmmu_open_reads_the_values_that_mmmu_does(context, given, expected):
    assert set(part("extract", "mmmu_open")(given["response"], asked())) == set(expected["parsed"])


@pytest.mark.parametrize(
    "said, values",
    [
        ("x", {" x", "x "}),
        ("a = 3 = 4", {4.0}),
        ("a = 3\nnothing", {"a = 3\nnothing", 3.0}),  # an equals sign states something in the last line alone
        ("the sum is 12\nso this is 13", {12.0, 13.0}),
        ("answer is :", {"answer is :"}),
        ("3e2 is it, so 3e2", {300.0, 2.0}),  # the official expression for plain numbers finds the exponent
    ],
)
def test_mmmu_open_at_the_borders_of_its_rules(said, values):
    assert set(part("extract", "mmmu_open")(said, asked())) == values


@pytest.mark.parametrize("context, given, expected", cases("mathvista_normalize"))
def test_mathvista_brings_answers_into_the_form_that_its_code_does(context, given, expected):
    options = dict(zip("ABCD", given["choices"], strict=False))
    question = asked(options=options, answer_type=given["answer_type"], precision=given["precision"])
    assert in_form(given["extraction"], question) == expected["normalized"]


def test_mathvista_cuts_a_number_to_a_whole_one_as_its_code_does_since_2023():
    """The first published numbers took 14.9 for no whole number at all."""
    question = asked(answer_type="integer")
    assert [in_form(said, question) for said in ("14.9", "-0.5", "1e3", "inf", "x")] == ["14", "0", "1000", None, None]


@pytest.mark.parametrize(
    "said, options, kind, found",
    [
        ("8/11", ABCD, "text", "8/11"),
        ("The answer is (C)", ABCD, "text", "6/11"),
        ('The answer is "B".', ABCD, "text", "8/11"),
        ("I cannot say which one of them it should be", ABCD, "text", None),
        ("", ABCD, "text", None),
        ("14.9", {}, "integer", "14"),
        ("There are 14 or 15, I count 1,204.", {}, "integer", "1204"),
        ("about 0.649", {}, "float", "0.6"),
        ("none", {}, "integer", None),
        ("The years are [2007, 2008]", {}, "list", "[2007, 2008]"),
        ("none", {}, "list", None),
        (" red ", {}, "text", "red"),
    ],
)
def test_mathvista_finds_answers_by_rules_and_guesses_nothing(said, options, kind, found):
    question = asked(options=options, answer_type=kind, precision=1.0)
    assert part("extract", "mathvista")(said, question) == found


@pytest.mark.parametrize(
    "extractor, said, found",
    [
        ("identity", " a b ", "a b"),
        ("identity", " ", None),
        (MMLU_PRO, "so the answer is (J). No, the answer is A", "J"),
        (MMLU_PRO, "the answer is K", None),
        (GSM8K, "2 + 3 makes 5", "5"),
        (GSM8K, "that is $1,205.", "$1,205."),
        ({"name": "regex", "pattern": r"#### (-?[0-9.,]+)"}, "so 5\n#### -72", "-72"),
        ({"name": "regex", "pattern": r"(?<=the answer is )(.*)(?=\.)"}, "So the answer is (B).", "(B)"),
        ({"name": "regex", "pattern": r"(?i)\b(yes|no)\b"}, "Well, NO", "NO"),
        ({"name": "regex", "pattern": r"rating: \d", "remove": r"[*\n]"}, "**rating**:\n 4", "rating: 4"),
        ("number", "from 3 to 1,204.50 m", "1204.50"),
        ("number", "5-3 or −7", "-7"),
        ("number", "1,2,3", "3"),
        ("number", "no", None),
        ("boxed", r"\boxed{1} and \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        ("boxed", "1/2", None),
        ({"name": "normalise", "how": "lower_strip"}, " A Cat ", "a cat"),
        ({"name": "normalise", "how": "evalai"}, "The two cats.", "2 cats"),
        ({"name": "normalise", "how": "evalai"}, "the", None),
        ({"name": "json", "field": "score"}, 'Sure: {"pred": "yes", "score": 4}.', 4),
        ({"name": "json", "field": "pred"}, "{'pred': 'no', 'score': 0}", "no"),
        ({"name": "json", "field": "pred"}, "{'pred': open('x')}", None),
        ({"name": "json", "field": "pred"}, "[1]", None),
        ({"name": "json", "field": "pred"}, "{1}", None),
        (
            COCO,
            "Two men eat hot dogs; a puppy, buses and knives. A bow-tie.",
            ["person", "hot dog", "dog", "bus", "knife", "tie"],
        ),
        (COCO, "A dogma about humans.", []),
        (COCO, "", None),
    ],
)
def test_what_extractors_find(extractor, said, found):
    assert part("extract", extractor)(said, asked()) == found


def test_either_reads_questions_with_options_and_open_ones_by_rules_of_their_own():
    mmmu = part("extract", {"name": "either", "options": "mmmu_mc", "open": "mmmu_open"})
    assert mmmu("(B)", asked(options=ABCD)) == "B"
    assert mmmu("it is 7", asked()) == [7.0]


def test_a_pattern_that_is_none_is_refused():
    with pytest.raises(ValidationError, match=r"'\(' is no regular expression"):
        part("extract", {"name": "regex", "pattern": "("})


@pytest.mark.parametrize("unit", ["a ", "1,111,", "\\boxed{"])
def test_a_megabyte_of_anything_is_read_in_seconds(unit):
    said, spent = unit * (1_000_000 // len(unit)), {}
    plain = [name for name in NAMES if name not in ("regex", "normalise", "json", "objects", "either")]
    others = [MMLU_PRO, GSM8K, COCO, {"name": "normalise", "how": "evalai"}, {"name": "json", "field": "a"}]
    for one in (*plain, *others):
        start = time.process_time()
        json.dumps(part("extract", one)(said, asked(options=ABCD, answer_type="list")))
        spent[str(one)] = time.process_time() - start
    assert max(spent.values()) < 5, spent
