"""What a prepared copy stores of a table: the usual columns, or those that are named; no file names."""

import shutil

import pytest
import tensorflow_datasets as tfds

from helpers import cxr_twins
from helpers.derm_folders import draw, scin_folder
from tfds_builders import chexpert_studies, nih_cxr14, prepare, verify
from tfds_builders.errors import DataError
from tfds_builders.kept_metadata import keep, name_with_everything
from tfds_builders.prepare import BuildOptions

ENCODED = {"images": tfds.decode.SkipDecoding()}
COLUMNS = ("Age", "sex", "postcode", "Referring Physician", "clinic")
MANIFEST = (
    f"case_id,image_path,label,patient_id,split,{','.join(COLUMNS)}\n"
    "c1,anna_meier_1.png,nv,P1,train,40,f,10115,Dr Who,north\n"
    "c1,anna_meier_2.png,nv,P1,train,40,f,10115,Dr Who,north\n"
    "c2,bert_1.png,mel,P2,validation,70,m,20095,Dr No,south\n"
)
SECRETS = ("anna", "bert", "10115", "20095", "Dr Who", "Dr No")


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "photos"
    root.mkdir()
    for seed, name in enumerate(("anna_meier_1.png", "anna_meier_2.png", "bert_1.png")):
        draw(root / name, seed)
    (root / "manifest.csv").write_text(MANIFEST)
    return root


def prepared(folder, tmp_path, **options):
    return prepare.prepare(
        "derm_bags",
        manual_dir=str(folder),
        data_dir=str(tmp_path / "tfds"),
        options=BuildOptions(**options),
    )


def bags(builder, split="train"):
    return list(tfds.as_numpy(builder.as_dataset(split=split, decoders=ENCODED)))


def everything_in(builder):
    """Returns the bytes of all files of a copy, one after another."""
    files = sorted(path for path in builder.data_path.iterdir() if path.is_file())
    return b"".join(path.read_bytes() for path in files)


@pytest.mark.parametrize(
    "text, used, columns, file_names",
    [
        ("usual", (), ("Age", "sex"), False),
        ("all", (), COLUMNS, True),
        ("none", ("postcode",), (), False),
        ("clinic, sex", (), ("sex", "clinic"), False),
        ("usual,clinic,image_path", (), ("Age", "sex", "clinic"), True),
        ("usual", ("postcode", "not there"), ("Age", "sex", "postcode"), False),
        ("sex", ("postcode",), ("sex",), False),
        ("image_path", (), (), True),
    ],
)
def test_what_is_kept(text, used, columns, file_names):
    kept = keep(text, COLUMNS, used)
    assert (kept.columns, kept.file_names) == (columns, file_names)
    assert kept.everything == (text == "all")


@pytest.mark.parametrize(
    "text, words",
    [("postcod", "no column 'postcod'; there are: Age, sex, postcode"), ("all,sex", "give usual")]
    + [("", "give usual"), ("none,usual", "give usual"), ("label", "no column 'label'")],
)
def test_what_cannot_be_kept_is_a_sentence(text, words):
    with pytest.raises(DataError, match=f"--keep_metadata={text}: .*{words}"):
        keep(text, COLUMNS)


def test_a_copy_has_another_name_for_other_columns_alone():
    texts = ("usual", "all", "none", "clinic", "usual,image_path", "postcode", "image_path")
    names = [keep(text, COLUMNS).config_name("f" * 64) for text in texts]
    assert len(set(names)) == len(names)
    named = keep("sex,Age", COLUMNS).config_name("f" * 64)
    assert named == names[0]  # the same columns are the same copy
    assert keep(",".join((*COLUMNS, "image_path")), COLUMNS).config_name("f" * 64) == names[1]
    assert {name_with_everything(name) for name in names} == {names[1], None}


def test_the_copy_holds_the_usual_columns_and_no_name_of_a_file(folder, tmp_path):
    builder = prepared(folder, tmp_path)
    (bag,) = bags(builder)
    assert {key: value.tolist() for key, value in bag["metadata"].items()} == {
        "Age": [b"40", b"40"],
        "sex": [b"f", b"f"],
    }
    assert bag["image_ids"].tolist() == [b"row 2", b"row 3"]
    stored = everything_in(builder)
    assert b"row 2" in stored and b"P1" in stored  # it is looked for in the right place
    assert not [secret for secret in SECRETS if secret.encode() in stored]
    kept = builder.info.metadata["kept_metadata"]
    assert kept == {"columns": ["Age", "sex"], "file_names": False}


def test_named_columns_and_those_of_subgroups_are_stored(folder, tmp_path):
    for options, columns in (
        (dict(keep_metadata="usual,clinic"), {"Age", "sex", "clinic"}),
        (dict(used_columns=("postcode", "view")), {"Age", "sex", "postcode"}),
        (dict(keep_metadata="none"), set()),
    ):
        (bag,) = bags(prepared(folder, tmp_path, **options))
        assert set(bag.get("metadata", {})) == columns
    (bag,) = bags(prepared(folder, tmp_path, keep_metadata="image_path"))
    assert bag["image_ids"].tolist() == [b"anna_meier_1.png", b"anna_meier_2.png"]
    assert "metadata" not in bag
    with pytest.raises(DataError, match="no column 'postcod'"):
        prepared(folder, tmp_path, keep_metadata="postcod")


def test_copies_differ_in_their_metadata_alone(folder, tmp_path):
    more = "".join(f"d{i},d{i}.png,nv,Q{i},train,{i},m,1,x,y\n" for i in range(12))
    for i in range(12):
        draw(folder / f"d{i}.png", 10 + i)
    (folder / "manifest.csv").write_text(MANIFEST + more)
    few, all_ = (prepared(folder, tmp_path, keep_metadata=k) for k in ("none", "all"))
    assert few.info.metadata["fingerprint"] == all_.info.metadata["fingerprint"]
    first, second = bags(few), bags(all_)
    assert [bag["bag_id"] for bag in first] == [bag["bag_id"] for bag in second]
    for a, b in zip(first, second):
        assert a["images"].tolist() == b["images"].tolist()
        assert (a["label"], a["patient_id"]) == (b["label"], b["patient_id"])


def test_a_copy_of_before_is_used_and_that_is_said(folder, tmp_path, capsys):
    older = prepared(folder, tmp_path, keep_metadata="all")  # the name and content it had before
    assert len(older.builder_config.name) == len("folder_") + 10
    capsys.readouterr()
    builder = prepared(folder, tmp_path)
    output = capsys.readouterr().out
    assert builder.data_path == older.data_path and "it stores every metadata column" in output
    fewer = prepared(folder, tmp_path, keep_metadata="sex")  # named: never the fuller one
    assert fewer.data_path != older.data_path
    shutil.rmtree(older.data_path)
    assert prepared(folder, tmp_path).data_path != older.data_path
    assert "it stores every metadata column" not in capsys.readouterr().out


def test_an_image_of_a_row_with_several_is_counted(tmp_path):
    cases = [("-7331921087437583245", ["10", "-11", "12"], {"Acne": 1})]
    cases += [("3861", ["13"], {"Acne": 1})]
    scin_folder(tmp_path / "scin", cases)
    builder = prepared(tmp_path / "scin", tmp_path)
    ids = {
        b["bag_id"]: b["image_ids"].tolist() for s in builder.info.splits for b in bags(builder, s)
    }
    assert ids[b"3861"] == [b"row 3"]
    assert ids[b"-7331921087437583245"] == [
        b"row 2, image 1",
        b"row 2, image 2",
        b"row 2, image 3",
    ]


def test_images_without_a_table_are_numbered_and_verify_still_names_files(tmp_path):
    root = tmp_path / "tree"
    for split, name, seed in (("train", "a.png", 0), ("train", "b.png", 1), ("test", "c.png", 0)):
        (root / split / "nv" / name[0]).mkdir(parents=True)
        draw(root / split / "nv" / name[0] / name, seed)
    builder = prepared(root, tmp_path)
    ids = {i for s in builder.info.splits for bag in bags(builder, s) for i in bag["image_ids"]}
    assert ids == {b"image 1", b"image 2", b"image 3"}
    ((pair, names),) = verify.verify(builder).common_images.items()
    assert set(pair) == {"train", "test"}
    assert {*names[0]} == {"train/nv/a/a.png", "test/nv/c/c.png"}


@pytest.mark.parametrize("name", ["chexpert", "nih_cxr14"])
def test_chest_xrays_keep_the_usual_columns(name, tmp_path):
    draw_twin = {"chexpert": cxr_twins.draw_chexpert, "nih_cxr14": cxr_twins.draw_nih}[name]
    draw_twin(tmp_path / "cxr", num_patients=6, seed=0, size=16)
    package = {"chexpert": chexpert_studies, "nih_cxr14": nih_cxr14}[name]
    stored = {}
    for text in ("usual", "all", "none", "sex"):
        config = package.folder_config(str(tmp_path / "cxr"), keep_metadata=text)
        builder = package.Builder(config=config, data_dir=tmp_path / "tfds")
        builder.download_and_prepare()
        stored[text] = bags(builder)
    assert set(stored["usual"][0]["metadata"]) == {"age", "sex", "projection"}
    assert set(stored["all"][0]["metadata"]) >= {"age", "sex", "projection"}
    assert "metadata" not in stored["none"][0] and set(stored["sex"][0]["metadata"]) == {"sex"}
    for usual, everything in zip(stored["usual"], stored["all"]):
        assert usual["images"].tolist() == everything["images"].tolist()
        assert all(b"row " in image for image in usual["image_ids"])
        assert all(b".png" in i or b".jpg" in i for i in everything["image_ids"])
