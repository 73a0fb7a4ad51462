"""The table of several seeds, where not all of them have every row."""

from simclr_med.experiments import repeats


def test_a_row_that_one_seed_lacks_is_left_out():
    """The weights before a run may be gone by the time of the second evaluation."""
    both = {"trained": {"macro_auc": 0.5}, "before this run": {"macro_auc": 0.4}}
    one = {"trained": {"macro_auc": 0.7}}
    found = repeats.rows([{"classification": {"kNN": rows}} for rows in (both, one)])
    assert [(row["encoder"], row["values"]) for row in found] == [("trained", [0.5, 0.7])]
