"""--mode=predict: probabilities of new cases, as they come; memory does not grow with their number."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np
import tensorflow as tf

from simclr_med.data import Bags
from simclr_med.evaluation.ensemble import LOOKS, Ensemble


class Case(Protocol):
    """A new case, its images encoded."""

    @property
    def case_id(self) -> str: ...

    @property
    def patient_id(self) -> str: ...

    @property
    def images(self) -> tuple[bytes, ...]: ...

    @property
    def image_ids(self) -> tuple[str, ...]: ...

    @property
    def notes(self) -> tuple[tuple[str, ...], ...]:
        """Of each image."""

    @property
    def unreadable(self) -> tuple[tuple[str, str], ...]:
        """(name, reason) of images that are not in `images`."""


@dataclasses.dataclass(frozen=True)
class Scored:
    """The classifiers' probabilities for a case, and notes on its images.

    Attributes:
      case_id, patient_id, image_ids, unreadable: as in `Case`.
      notes: of each image, also how unlike the training images it is.
      features: of the first member, the mean over its images, float32 [d]; None where it has no image
        that can be read.
      probabilities: by each member, of the mean features of its images, float [members, classes]; None
        there too, and of a pretrained run.
      calibrated: the mean of their probabilities at their temperatures, float [classes]; None where one
        has no temperature.
      of_images: the same of each image alone, float [members, images, classes]; None unless requested.
      distances: of each image to the training images, see `likeness`, float [images]; None where no
        member knows what these look like.
    """

    case_id: str
    patient_id: str
    image_ids: tuple[str, ...]
    notes: tuple[tuple[str, ...], ...]
    unreadable: tuple[tuple[str, str], ...]
    features: np.ndarray | None = None
    probabilities: np.ndarray | None = None
    calibrated: np.ndarray | None = None
    of_images: np.ndarray | None = None
    distances: np.ndarray | None = None


def predict(
    ensemble: Ensemble,
    cases: Iterable[Case],
    *,
    per_image: bool = False,
) -> Iterator[list[Scored]]:
    """Yields the cases in their order, some at a time, each once all of its images are seen.

    All images of a case count, whatever --max_bag_size says.

    Args:
      ensemble: of the classifiers.
      cases: read by another thread while the device computes, a few batches ahead.
      per_image: score each image alone, too.

    Raises:
      UserError: memory did not suffice; and whatever `cases` raises.
    """
    source = _Source(cases)
    sums = _Sums(source)
    for outputs, case, image in ensemble.forward(source.bags()):
        sums.add(outputs, case, image)
        if done := sums.finished():
            yield _scored(ensemble, done, per_image)
    if source.error is not None:
        raise source.error
    if done := sums.finished():  # the last ones, if they have no image
        yield _scored(ensemble, done, per_image)


class _Source:
    """Passes the images of cases to tf.data and stores the facts about each case under way."""

    def __init__(self, cases: Iterable[Case]):
        self._cases = cases
        self.waiting: collections.deque[Scored] = collections.deque()
        self.error: BaseException | None = None

    def bags(self) -> Bags:
        """Returns the cases that have images, as a split of unknown size."""
        spec = {"images": tf.TensorSpec([None], tf.string)}

        def opened() -> tf.data.Dataset:
            return tf.data.Dataset.from_generator(self._with_images, output_signature=spec)

        return Bags(opened, num_bags=0, num_images=0, class_names=())

    def _with_images(self) -> Iterator[dict]:
        try:
            for case in self._cases:
                about = case.case_id, case.patient_id, case.image_ids, case.notes, case.unreadable
                self.waiting.append(Scored(*about))
                if case.images:
                    yield {"images": np.array(case.images, object)}
        except Exception as error:  # tf.data would tell it as an error of its own
            self.error = error


_Image = dict[int, np.ndarray]  # what is computed of an image: number of a member, or LOOKS -> [d]


class _Sums:
    """Collects what is computed of each case's images until all of them are seen."""

    def __init__(self, source: _Source):
        self._waiting = source.waiting
        self._next = 0  # number, among the cases with images, of the first that waits
        self._images: dict[
            int, dict[int, _Image]
        ] = {}  # case -> place of the image -> of that image

    def add(self, outputs: dict[int, np.ndarray], case: np.ndarray, image: np.ndarray) -> None:
        """Adds a batch: what was computed, each [m, d], and the case and place of each image, [m]."""
        for i, (number, place) in enumerate(zip(case.tolist(), image.tolist())):
            image_outputs = {name: values[i] for name, values in outputs.items()}
            self._images.setdefault(number, {})[place] = image_outputs

    def finished(self) -> list[tuple[Scored, list[_Image]]]:
        """Returns, in order, the cases whose images are all done, each with its images in order."""
        done = []
        while self._waiting:
            case, images = self._waiting[0], {}
            if case.image_ids:
                images = self._images.get(self._next, {})
                if len(images) < len(case.image_ids):
                    break
                del self._images[self._next]
                self._next += 1
            done.append((self._waiting.popleft(), [images[place] for place in sorted(images)]))
        return done


def _scored(
    ensemble: Ensemble, done: list[tuple[Scored, list[_Image]]], per_image: bool
) -> list[Scored]:
    """Returns the cases with their probabilities."""
    images_of_cases = [images for _, images in done if images]
    if not images_of_cases:
        return [case for case, _ in done]
    all_images = {
        name: np.stack([image[name] for images in images_of_cases for image in images])
        for name in images_of_cases[0][0]
    }  # each [all images, d]
    ends = np.cumsum([len(images) for images in images_of_cases])[:-1]
    members = range(len(ensemble.members))
    means = [
        np.stack([_mean(case_features) for case_features in np.split(all_images[m], ends)])
        for m in members
    ]
    if ensemble.class_names:
        probabilities = ensemble.probabilities(means)  # [members, n, classes]
        calibrated = ensemble.calibrated(probabilities)
    if per_image:
        image_probabilities = np.split(
            ensemble.probabilities([all_images[m] for m in members]), ends, axis=1
        )
    if ensemble.knowing:
        _, known = ensemble.knowing
        distances = np.split(known.distances(all_images[LOOKS]), ends)
        likeness_notes = np.split(np.array(known.notes(all_images[LOOKS]), object), ends)
    scored, n = [], 0
    for case, images in done:
        if images:
            case = dataclasses.replace(case, features=means[0][n])
            if ensemble.class_names:
                case = dataclasses.replace(
                    case,
                    probabilities=probabilities[:, n],
                    calibrated=None if calibrated is None else calibrated[n],
                )
            if per_image:
                case = dataclasses.replace(case, of_images=image_probabilities[n])
            if ensemble.knowing:
                pairs = zip(case.notes, likeness_notes[n])
                notes = tuple((*image, *filter(None, [unlike])) for image, unlike in pairs)
                case = dataclasses.replace(case, distances=distances[n], notes=notes)
            n += 1
        scored.append(case)
    return scored


def _mean(images: np.ndarray) -> np.ndarray:
    """Returns the mean features of a case, float32 [d], of those of its images, added up one by one as
    evaluation does."""
    total = np.zeros_like(images[0])
    for image in images:
        total += image
    return total / np.float32(len(images))
