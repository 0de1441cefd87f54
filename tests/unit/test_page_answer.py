"""The first section of the page: verdicts on claims, and forest plots."""

import re

import pandas as pd
import pytest
from made_claims import PAIR, claim, measured, of_paper, table
from test_page import Reader, summary_of

from soteacher import cli
from soteacher.core.hash_list import write_hash_list
from soteacher.report.page import make_page
from soteacher.report.page.answer import answer
from soteacher.report.page.differences import signed
from soteacher.report.page.forest import forest
from soteacher.report.page.verdicts import Verdicts, read_verdicts

OVERALL = {"comparison": "overall", "pair": "", "method": "", "reference": ""}
CLAIMS = table(
    claim(
        "students_better",
        "cannot tell",
        **OVERALL | measured(1.234, -0.5, 2.96) | of_paper(0.8, 0.3, 1.3, "holds"),
        seeds_needed=12.0,
        why="The interval contains 0.",
        paper_why="Welch's test, n = 3.",
    ),
    claim("students_better", "holds", **measured(2, 1, 3) | of_paper(0.8, 0.1, 1.5, "holds")),
    claim(
        "students_better",
        "cannot tell",
        comparison="wrn_40_2/wrn_16_2",
        **measured(0.5, -2, 3) | of_paper(0.6, -0.1, 1.3, "cannot tell"),
    ),
    claim("students_better", "holds", comparison=f"{PAIR}, another", counted=False),
    claim("teacher", "does not hold", **OVERALL | measured(4.1, 3, 5.2), sentence="It is <worse>."),
    claim("ece", "holds", **OVERALL | measured(-0.05, -0.07, -0.03), measure="ece", unit="ECE"),
    claim("times", "not measured", **OVERALL),
)


@pytest.fixture(scope="module")
def page():
    """A page with these verdicts and nothing else."""
    return make_page(summary_of([], figures={}), {}, {}, Verdicts(CLAIMS, CLAIMS))


def test_the_answer_begins_with_how_many_claims_have_each_verdict(page):
    said = (
        "Of 4 claims of the paper, in this study 1 holds, 1 does not hold, 1 cannot be told and "
        "1 is not measured."
    )
    assert said in Reader(page).texts
    assert page.index('id="answer"') < page.index("What was compared") < page.index("<nav")
    assert '<a href="#answer">' in page


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        (["holds"] * 2, "Of 2 claims of the paper, in this study 2 hold."),
        (["cannot tell"], "Of 1 claim of the paper, in this study 1 cannot be told."),
    ],
)
def test_the_sentence_is_right_in_number(verdicts, said):
    rows = [claim(f"c{i}", verdict, **OVERALL) for i, verdict in enumerate(verdicts)]
    assert answer(table(*rows))["sentence"] == said


def test_a_claim_has_its_verdict_the_paper_s_numbers_and_what_came_out():
    first, second, third, last = answer(CLAIMS)["claims"]
    assert (first["verdict"], first["paper_verdict"]) == ("cannot tell", "holds")
    assert first["paper"] == "+0.80 [+0.30, +1.30] points, n = 3, holds in 1 of 2"
    assert first["here"] == "+1.23 [−0.50, +2.96] points, n = 4, holds in 1 of 2"
    assert first["why"] == ["The interval contains 0.", "Welch's test, n = 3."]
    assert [one["text"] for one in first["comparisons"]] == [
        "overall",
        "WRN40-2/WRN40-1",
        "WRN40-2/WRN16-2",
        "WRN40-2/WRN40-1, another",
    ]
    assert first["comparisons"][0]["seeds"] == "12"
    assert second["here"] == "+4.10 [+3.00, +5.20] points, n = 4"
    assert (second["paper_verdict"], second["paper"]) == ("not measured", "")
    assert third["here"] == "−0.050 [−0.070, −0.030] ECE, n = 4"
    assert (last["verdict"], last["here"], last["comparisons"][0]["seeds"]) == (
        "not measured",
        "",
        "",
    )


def test_a_verdict_is_a_word_and_a_sign_not_only_a_colour(page):
    for kind, sign in (("holds", "✓"), ("does-not-hold", "✗"), ("cannot-tell", "?")):
        assert f'<span class="sign {kind}" aria-hidden="true">{sign}</span>' in page
    assert "It is &lt;worse&gt;." in page and "<worse>" not in page


def test_the_forest_plot_has_the_study_and_the_paper_on_one_scale():
    plot = forest(CLAIMS[CLAIMS["comparison"] != "overall"])
    ticks = {text: place for place, text in plot["ticks"]}
    assert list(ticks) == ["−2", "−1", "0", "1", "2", "3"]
    assert plot["zero"] == ticks["0"]
    first, second = plot["rows"]
    assert first["here"] == {"at": ticks["2"], "low": ticks["1"], "high": ticks["3"]}
    assert second["here"]["low"] == ticks["−2"]
    assert first["paper"]["at"] == pytest.approx(0.2 * ticks["0"] + 0.8 * ticks["1"], abs=0.02)
    assert second["paper"]["low"] < plot["zero"] < second["paper"]["high"]


@pytest.mark.parametrize("scale", [1e-3, 0.07, 1, 37])
def test_the_axis_of_a_forest_plot_contains_all_of_it_and_zero(scale):
    rows = table(
        claim("c", "holds", **measured(scale, 0.5 * scale, 1.9 * scale)),
        claim("c", "holds", **of_paper(3 * scale, 2 * scale, 3.3 * scale, "holds")),
    )
    plot = forest(rows)
    places = [place for place, _ in plot["ticks"]]
    assert 3 <= len(places) <= 9 and places[0] == plot["zero"] == 4 and places[-1] == 96
    bars = [row[name] for row in plot["rows"] for name in ("here", "paper") if row[name]]
    assert len(bars) == 2 and all(4 < bar["low"] < bar["high"] <= 96 for bar in bars)


def test_without_a_difference_there_is_no_forest_plot():
    assert forest(table(claim("c", "not measured"))) is None
    shown = answer(table(claim("students_better", "not measured", **OVERALL)))
    assert shown["forests"] == []


def test_one_seed_has_a_point_without_an_interval():
    rows = table(claim("c", "cannot tell", difference=1.0, n=1))
    [row] = forest(rows)["rows"]
    assert row["here"]["low"] == row["here"]["at"] == row["here"]["high"]
    assert (row["difference"], row["n"]) == ("+1.00", "n = 1")


def test_verdicts_are_read_as_they_were_written(tmp_path):
    paths = [tmp_path / name for name in ("claims.csv", "comparisons.csv")]
    for path in paths:
        CLAIMS.to_csv(path, index=False)
    write_hash_list(paths[0], paths[1:])
    read = read_verdicts(*paths)
    for frame in (read.claims, read.comparisons):
        pd.testing.assert_frame_equal(frame, CLAIMS, check_dtype=False)


def refused(caplog, *arguments):
    """The error of `soteacher page` with these arguments."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["page", "--summary", "s.json", "--tables", "t.csv", "--out", "p", *arguments])
    assert ended.value.code == 2
    return caplog.text


def test_claims_without_comparisons_are_refused_in_one_line(caplog):
    error = refused(caplog, "--claims", "claims.csv")
    assert "got only one of --claims and --comparisons; give both" in error
    assert error.count("\n") == 1


def test_changed_verdicts_are_refused(tmp_path):
    paths = [tmp_path / name for name in ("claims.csv", "comparisons.csv")]
    for path in paths:
        CLAIMS.to_csv(path, index=False)
    write_hash_list(paths[0], paths[1:])
    text = paths[1].read_text(encoding="utf-8")
    paths[1].write_text(re.sub("1.234", "9.999", text), encoding="utf-8")
    with pytest.raises(Exception, match=r"comparisons\.csv has changed since it was made"):
        read_verdicts(*paths)


def test_a_page_without_verdicts_has_no_such_section():
    page = make_page(summary_of([], figures={}), {}, {})
    assert 'id="answer"' not in page and "#answer" not in page


def test_a_difference_that_rounds_to_zero_has_no_minus():
    assert signed(-0.001, "percentage points") == "+0.00"
    assert signed(-0.001, "nats") == "−0.001"
