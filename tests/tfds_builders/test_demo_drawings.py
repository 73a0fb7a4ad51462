"""The demo dataset: its promises to users (splits, bags, bytes) and to the method (nuisance)."""

import collections

import numpy as np
import pytest

from tfds_builders.derm_bags import demo
from tfds_builders.derm_bags.demo_clinic import ELSEWHERE, HERE
from tfds_builders.derm_bags.demo_skin import photograph

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def cases():
    return list(demo.demo_cases(seed=0, num_cases=24))


@pytest.fixture(scope="module", params=[0, 1, 2])
def rows(request):
    """(patient, condition, split, number of images) of the 1,200 cases of a seed; not drawn."""
    return demo.catalogue(request.param, 0)


def bytes_of(case):
    return [image.tobytes() for image in case.images]


def test_same_seed_gives_same_bytes(cases):
    # Fails if anything draws from the global generator, or goes through an unordered set.
    for once, again in zip(cases, demo.demo_cases(seed=0, num_cases=6)):
        assert bytes_of(once) == bytes_of(again)
        assert (once.case_id, once.metadata) == (again.case_id, again.metadata)


def test_other_seed_gives_another_order_and_other_pictures():
    # Fails if the seed reaches the catalogue only: then equal rows would give equal pictures.
    first, second = demo.catalogue(0, 0), demo.catalogue(1, 0)
    assert first != second
    twin = next(i for i, (a, b) in enumerate(zip(first, second)) if (a[1], a[3]) == (b[1], b[3]))
    assert not set(bytes_of(demo.demo_case(0, twin))) & set(bytes_of(demo.demo_case(1, twin)))


def test_case_does_not_depend_on_the_cases_before_it(cases):
    # Fails if one generator runs through all cases, or if the catalogue depends on num_cases.
    alone = demo.demo_case(0, 23)
    assert bytes_of(alone) == bytes_of(cases[23])
    assert (alone.patient_id, alone.condition, alone.split) == (
        cases[23].patient_id,
        cases[23].condition,
        cases[23].split,
    )


def test_cases_are_drawn_only_when_asked_for():
    # A list instead of a generator would draw for hours here.
    assert next(demo.demo_cases(seed=0, num_cases=10**6)).case_id == "case_00000"


def test_images_are_uint8_96_by_96_and_use_the_range(cases):
    # A picture left in 0..1, or clipped to black, has the right dtype and is still wrong.
    for image in (image for case in cases for image in case.images):
        assert image.dtype == np.uint8 and image.shape == (96, 96, 3)
        assert 5 < image.mean() < 250 and image.std() > 4


def test_bags_hold_one_to_six_images_like_a_clinic(rows):
    sizes = np.array([num_images for _, _, _, num_images in rows])
    assert set(sizes) == {1, 2, 3, 4, 5, 6}
    assert 2.6 < sizes.mean() < 3.0 and np.mean(sizes >= 2) >= 0.75


def test_case_holds_what_the_catalogue_says(cases):
    # Fails if rows shift against cases: splits would then be those of another patient.
    for case, (patient, *row) in zip(cases, demo.catalogue(0, 0)):
        assert row == [case.condition, case.split, len(case.images)]
        assert case.patient_id == f"patient_00{patient:04d}"


def test_metadata_has_one_value_per_image(cases):
    for case in cases:
        assert set(case.metadata) == {"body_site", "skin_tone", "light"}
        assert {len(values) for values in case.metadata.values()} == {len(case.images)}


def test_patient_is_in_one_split_only(rows):
    # Fails if splits are drawn by case; that needs patients with several cases to show.
    splits, counts = collections.defaultdict(set), collections.Counter()
    for patient, _, split, _ in rows:
        splits[patient].add(split)
        counts[patient] += 1
    assert all(len(s) == 1 for s in splits.values())
    assert len(counts) == 1020 and set(counts.values()) == {1, 2, 3}


def test_patients_of_two_blocks_are_different_people():
    # Patient numbers start again in every block of 1,200 cases; the ids must not.
    first, second = demo.demo_case(0, 0), demo.demo_case(0, HERE.num_cases)
    assert demo.catalogue(0, 0)[0][0] == demo.catalogue(0, 1)[0][0] == 0
    assert first.patient_id != second.patient_id and first.case_id != second.case_id


def test_splits_are_60_10_30_and_hold_every_condition():
    # The rarest condition has 36 cases. Splits drawn freely leave validation without one in 2 % of
    # the seeds, so a few seeds would not notice.
    for seed in range(60):
        rows = demo.catalogue(seed, 0)
        counts = collections.Counter(split for _, _, split, _ in rows)
        assert [counts[s] / len(rows) for s in SPLITS] == pytest.approx([0.6, 0.1, 0.3], abs=0.03)
        for split in SPLITS:
            assert {c for _, c, s, _ in rows if s == split} == set(demo.CONDITIONS)


def test_conditions_have_a_long_tail(rows):
    shares = collections.Counter(condition for _, condition, _, _ in rows)
    assert len(demo.CONDITIONS) == 10 and len(rows) == 1200
    assert max(shares.values()) == 288 and min(shares.values()) == 36


def thumbnail(image):
    return image.reshape(8, 12, 8, 12, 3).mean((1, 3)).ravel()


def test_images_of_a_case_differ_as_much_as_images_of_two_cases(cases):
    # Fails if skin, light or pose is drawn once for the case: then its images look alike.
    thumbnails = [[thumbnail(i) for i in case.images] for case in cases if len(case.images) > 1]
    inside = [np.linalg.norm(a[0] - a[1]) for a in thumbnails]
    across = [np.linalg.norm(a[0] - b[1]) for a, b in zip(thumbnails, thumbnails[1:])]
    assert min(inside) > 0
    assert np.median(inside) > 0.7 * np.median(across)


@pytest.mark.parametrize("key", ["body_site", "skin_tone", "light"])
def test_nuisance_is_drawn_for_each_image(cases, key):
    # Drawn once for a case, it would be a clue to the case that contrast could use.
    pairs = [case.metadata[key][:2] for case in cases if len(case.images) > 1]
    assert np.mean([a == b for a, b in pairs]) < 0.5  # by chance 1/6, 1/6, 1/5


def without_lesion(*covers):
    """Maps of a lesion that nobody can see, topped by the `covers` named."""
    parts = ("cover", "pigment", "relief", *covers)
    nothing, trace = np.zeros_like(demo.X), np.full_like(demo.X, 1e-20)
    return {k: trace if k in parts else nothing for k in (*parts, "scale", "crust")}


@pytest.mark.parametrize("clinic", [HERE, ELSEWHERE])
def test_photograph_depends_on_the_condition_through_the_lesion_only(clinic):
    # Fails if a map that only some conditions have draws from the generator that nuisances use,
    # or if exposure follows the lesion: then skin, light or noise would tell of the condition.
    for seed in range(8):
        bare, covered = (
            photograph(without_lesion(*covers), 0.5, clinic, np.random.default_rng(seed))
            for covers in ((), ("scale", "crust"))
        )
        assert bare[0].tobytes() == covered[0].tobytes() and bare[1] == covered[1]


def test_nuisance_of_a_case_is_the_same_whatever_its_condition(monkeypatch):
    # Without its lesion, a case of any condition gives the very same pictures: no classifier can
    # tell the label from anything around the lesion.
    index = next(i for i, row in enumerate(demo.catalogue(0, 0)) if row[3] == 3)
    patient, _, split, count = demo.catalogue(0, 0)[index]
    draw = demo.lesion_maps

    def drawn_and_hidden(condition, rng):
        draw(condition, rng)
        return without_lesion()

    monkeypatch.setattr(demo, "lesion_maps", drawn_and_hidden)
    pictures = set()
    for condition in demo.CONDITIONS:
        rows = {index: (patient, condition, split, count)}
        monkeypatch.setattr(demo, "catalogue", lambda *_, rows=rows: rows)
        case = demo.demo_case(0, index)
        assert case.condition == condition
        pictures.add((*bytes_of(case), str(case.metadata)))
    assert len(pictures) == 1


def test_images_of_a_case_share_no_nuisance():
    # The same lesion in two images of a case: fails if the images share a generator or a draw.
    case = next(c for c in demo.demo_cases() if len(c.images) == 6)
    assert len(set(bytes_of(case))) == 6
    metadata = [c.metadata for c in (demo.demo_case(0, i) for i in range(12)) for _ in c.images]
    assert all(
        len({m[key][0] for m in metadata}) > 3 for key in ("body_site", "skin_tone", "light")
    )


# The other clinic, demo_shift


@pytest.fixture(scope="module")
def elsewhere():
    return list(demo.demo_cases(seed=0, num_cases=24, clinic=ELSEWHERE))


def test_other_clinic_is_the_same_every_time(elsewhere):
    again = [demo.demo_case(0, i, ELSEWHERE) for i in (5, 0)]
    assert [bytes_of(case) for case in again] == [bytes_of(elsewhere[i]) for i in (5, 0)]


def test_other_clinic_shares_no_case_no_patient_and_no_lesion(cases, elsewhere):
    # Fails if both clinics draw from one generator: case 0 would show the same lesion in both.
    for key in ("case_id", "patient_id"):
        assert not {getattr(c, key) for c in cases} & {getattr(c, key) for c in elsewhere}
    assert not {b for c in cases for b in bytes_of(c)} & {b for c in elsewhere for b in bytes_of(c)}
    lesions = []
    for clinic in (HERE, ELSEWHERE):
        rng = np.random.default_rng((0, 0, 1, clinic.number))
        lesions.append(demo.lesion_maps("round_target", rng)["pigment"])
    assert np.abs(lesions[0] - lesions[1]).max() > 0.1
    assert demo.catalogue(0, 0)[: len(elsewhere)] != demo.catalogue(0, 0, ELSEWHERE)[:24]


def test_other_clinic_has_300_test_cases_and_the_same_conditions_in_the_same_shares(rows):
    other = demo.catalogue(0, 0, ELSEWHERE)
    splits = collections.Counter(row[2] for row in other)
    assert len(other) == 360 and splits["test"] == pytest.approx(300, abs=5)
    assert set(splits) == {"train", "test"}
    for split in splits:
        assert {row[1] for row in other if row[2] == split} == set(demo.CONDITIONS)
    here, there = (collections.Counter(row[1] for row in r) for r in (rows, other))
    for condition in demo.CONDITIONS:
        assert there[condition] / 360 == pytest.approx(here[condition] / 1200, abs=0.002)


def test_other_clinic_looks_different(cases, elsewhere):
    # No body site and no light in common, and pictures that are darker on average.
    for key in ("body_site", "light"):
        here, there = ({v for c in a for v in c.metadata[key]} for a in (cases, elsewhere))
        assert not here & there
    here, there = (np.mean([np.mean(c.images) for c in a]) for a in (cases, elsewhere))
    assert there < 0.9 * here


# Lesions


@pytest.mark.parametrize("condition", demo.CONDITIONS)
def test_lesion_fits_its_frame_and_maps_stay_in_range(condition):
    # A lesion cut off by its frame would show a straight edge that no condition has.
    for seed in range(20):
        lesion = demo.lesion_maps(condition, np.random.default_rng(seed))
        cover = lesion["cover"]
        frame = np.concatenate([cover[0], cover[-1], cover[:, 0], cover[:, -1]])
        assert 0.03 < cover.mean() < 0.6
        assert frame.max() < 0.01
        assert all(m.dtype == np.float32 and np.isfinite(m).all() for m in lesion.values())
        for share in ("cover", "scale", "crust"):
            assert lesion[share].min() >= 0 and lesion[share].max() <= 1.001
