"""Which patient goes into which split: decided by the patient's id alone, the same everywhere."""

import hashlib

# Shares of the patients: those of the paper's CheXpert split. (Its derm cases are 74/6/20.)
TRAIN_SHARE, VALIDATION_SHARE = 0.75, 0.10


def hash_split(patient_id: str) -> str:
    """Returns train, validation or test (75/10/15) from the id alone: the same on every machine."""
    share = patient_share(patient_id)
    if share < TRAIN_SHARE:
        return "train"
    return "validation" if share < TRAIN_SHARE + VALIDATION_SHARE else "test"


def patient_share(patient_id: str) -> float:
    """Returns a number in [0, 1) that spreads ids evenly: the first 64 bits of their SHA-256."""
    return int(hashlib.sha256(patient_id.encode()).hexdigest()[:16], 16) / 16**16


def hash_train_or_validation(patient_id: str) -> str:
    """Returns train or validation, where the test patients are given by an official list."""
    share = TRAIN_SHARE / (TRAIN_SHARE + VALIDATION_SHARE)
    return "train" if patient_share(patient_id) < share else "validation"
