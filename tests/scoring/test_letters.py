"""Option letters, as the benchmarks' own code reads them."""

import pytest

from tests.scoring.support import asked, cases, part

OPTIONS = dict.fromkeys("ABCDE", "none of these texts")


def read(name: str, said: str, options=OPTIONS):
    return part("extract", name)(said, asked(options=options))


@pytest.mark.parametrize("context, given, expected", cases("vlmeval_can_infer"))
def test_letter_infer_reads_what_vlmevalkit_does(context, given, expected):
    assert read("letter_infer", given["response"], context["choices"]) == (expected["pred"] or None)


@pytest.mark.parametrize("context, given, expected", cases("mme_realworld_extract"))
def test_letter_prefix_reads_what_mme_realworld_does(context, given, expected):
    assert read("letter_prefix", given["response"]) == (expected["pred"] or None)


@pytest.mark.parametrize("context, given, expected", cases("mmmu_multi_choice"))
def test_mmmu_mc_reads_what_mmmu_does_and_guesses_nothing(context, given, expected):
    assert read("mmmu_mc", given["response"], context["choices"]) == expected["pred"]


@pytest.mark.parametrize("context, given, expected", cases("muchomusic_extract"))
def test_letter_or_text_reads_what_muchomusic_does(context, given, expected):
    options = dict(zip("ABCD", context["options"], strict=True))
    assert read("letter_or_text", given["response"], options) == {-1: None, 1: "B", 2: "C", 3: "D"}[expected["index"]]


@pytest.mark.parametrize(
    "name, said, letter",
    [
        ("letter_strict", " b ", "B"),
        ("letter_strict", "B. A dog", "B"),
        ("letter_strict", "(C) a dog", "C"),
        ("letter_strict", "D) a dog", "D"),
        ("letter_strict", "A dog", None),
        ("letter_strict", "b. a dog", None),
        ("letter_strict", "F", None),
        ("letter_strict", "The answer is B.", None),
        ("letter_prefix", "", None),
        ("letter_prefix", "(", None),
        ("letter_prefix", "b", "B"),
        ("letter_prefix", "(b", "B"),
        ("letter_prefix", "a car and a bus", None),
        ("letter_prefix", "A red car", "A"),
        ("letter_infer", "Z", "Z"),
        ("letter_infer", "Sorry, I can't help with images of people yet.", "Z"),
        ("letter_infer", "Failed to obtain answer via API: A", None),
        ("letter_infer", "the correct answer is **c**, and neither A nor B", "C"),
        ("letter_infer", "A dog runs fast and far", None),
        ("letter_infer", "A dog runs fast", "A"),
        ("letter_or_text", "Drums and DJs", None),
        ("mmmu_mc", "A", "A"),
    ],
)
def test_letters_at_the_borders_of_a_rule(name, said, letter):
    assert read(name, said) == letter


@pytest.mark.parametrize("name", ["letter_strict", "letter_prefix", "letter_infer", "letter_or_text", "mmmu_mc"])
def test_silence_and_white_space_give_no_letter(name):
    assert [read(name, said) for said in ("", " ", "\n")] == [None] * 3


def test_letters_disagree_where_the_benchmarks_do():
    said = "The correct choice is B because A is not possible"
    names = ("mmmu_mc", "letter_prefix", "letter_infer", "letter_strict")
    assert [read(name, said) for name in names] == ["A", "B", None, None]
