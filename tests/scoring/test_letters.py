"""Option letters, as the benchmarks' own code reads them."""

import pytest

from tests.scoring.support import asked, cases, part


@pytest.mark.parametrize("context, given, expected", cases("vlmeval_can_infer"))
def test_letter_infer_reads_what_vlmevalkit_does(context, given, expected):
    said = part("extract", "letter_infer")(given["response"], asked(options=context["choices"]))
    assert said == (expected["pred"] or None)
