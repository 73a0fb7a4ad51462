"""Several labels a case: how uncertain and blank labels are read, and in which order."""

import math

import numpy as np
import pytest
import tensorflow as tf

from simclr_med.data.labels import CHEXPERT5, CHEXPERT14, LabelReading, make_policy
from simclr_med.errors import UserError

NAN = math.nan


def policy(stored=CHEXPERT14, label_set="chexpert5", uncertain="ignore", blank="negative", **more):
    options = dict(renamed={}, dataset="chexpert_studies", **more)
    return make_policy(stored, LabelReading(label_set, uncertain, blank), **options)


def read(policy, **values):
    """Returns the label vector of a case whose stored labels are `values`, else blank."""
    stored = {key: tf.constant(values.get(key.split()[0], NAN), tf.float32) for key in CHEXPERT14}
    return policy.apply(stored).numpy()


@pytest.mark.parametrize("uncertain, value", [("zeros", 0.0), ("ones", 1.0), ("ignore", NAN)])
@pytest.mark.parametrize("blank, blank_value", [("negative", 0.0), ("ignore", NAN)])
def test_each_policy_says_what_uncertain_and_blank_become(uncertain, value, blank, blank_value):
    labels = read(
        policy(uncertain=uncertain, blank=blank), Atelectasis=1, Cardiomegaly=0, Consolidation=-1
    )
    np.testing.assert_array_equal(labels, [1, 0, value, blank_value, blank_value])


def test_a_label_may_have_a_policy_of_its_own():
    mixed = policy(uncertain="zeros,Atelectasis:ones, Edema:ignore")
    np.testing.assert_array_equal(
        read(mixed, Atelectasis=-1, Cardiomegaly=-1, Edema=-1), [1, 0, 0, NAN, 0]
    )


def test_names_and_order_are_those_of_the_label_set_whatever_the_dataset_calls_them():
    nih = ("Atelectasis", "Effusion", "Edema", "Cardiomegaly", "Consolidation")
    renamed = {"Effusion": "Pleural Effusion"}
    options = dict(renamed=renamed, dataset="nih")
    five = make_policy(nih, LabelReading("chexpert5"), **options)
    assert five.names == CHEXPERT5 and five.keys[4] == "Effusion"
    assert make_policy(nih, LabelReading("all"), **options).names == nih


@pytest.mark.parametrize(
    "options, words",
    [
        (dict(uncertain="maybe"), "'maybe' is not zeros, ones or ignore"),
        (dict(uncertain="zeros,Oedema:ones"), "'Oedema:ones'"),
        (dict(stored=("Mass",)), "no label 'Atelectasis'; it has: Mass"),
    ],
)
def test_mistakes_are_named(options, words):
    with pytest.raises(UserError, match=words):
        policy(**options)
