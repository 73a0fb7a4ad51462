"""Evaluators of frozen features: one file each, listed in EVALUATORS.

Each is a function (train_x float [n, d], train_y int [n], train_patients [n], test_x [m, d],
num_classes, seed) to scores float [m, num_classes], rows of which sum to 1. All labels are >= 0.
"""

from simclr_med.evaluators import knn, linear_probe

EVALUATORS = {"linear probe": linear_probe.scores, "kNN": knn.scores}
