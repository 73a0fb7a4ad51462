"""The terminal shows subgroups that are large enough for an interval, and counts the others."""

from simclr_med.evaluation.report import results


def group(value, interval):
    row = {"column": "sex", "value": value, "cases": 50, "patients": 50}
    for name in results._OF_SUBGROUPS:
        row |= {name: 0.8, f"{name}_95": interval, f"{name}_why": "" if interval else "too few"}
    return row


def test_only_subgroups_with_an_interval_are_shown():
    large, small = group("f", [0.7, 0.9]), group("m", None)
    result = {"subgroups": [small, large], "min_subgroup": 10}
    ((title, _, rows),) = results._subgroup_table(result)
    assert [row[0] for row in rows] == ["sex: f"] and "more in the report" not in title
    assert "too few patients for an interval: 1;" in results._too_small(result)
    assert results._subgroup_table({"subgroups": [small], "min_subgroup": 10}) == []
    assert results._too_small({"subgroups": [large], "min_subgroup": 10}) == ""
