"""Results and views of report.html made of random numbers, and the page read back."""

import html.parser
import io

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from simclr_med import metrics
from simclr_med.config import Config
from simclr_med.data.cases import Cases
from simclr_med.evaluation.report import html as report
from simclr_med.evaluation.report import near_duplicates, strips
from simclr_med.run_folder import curves

# In every id, path, name of a machine and free text of those who made the run. Base64 has no underscore.
OWNER = "anna_m"
_VOID = {"meta", "img", "br"}


class Balanced(html.parser.HTMLParser):
    """Reads a page; collects its text, its tags, and what its tags point to."""

    def __init__(self, page: str):
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.links: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.links += [value for key, value in attributes if key in ("src", "href")]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join("".join(self.text).split())


def row_of(truth, scores, class_names) -> dict:
    """A row of the result with made-up intervals, undefined numbers None as in result.json."""
    multilabel = truth.ndim == 2
    names = ["macro_auc", "macro_ap", "ece"]
    names = [*names, "chexpert5_auc"] if multilabel else ["top_1", "balanced_accuracy", *names]
    row: dict = {"cases": len(truth), "patients": 17}
    for i, name in enumerate(names):
        row[name], row[f"{name}_95"] = 0.511 + i / 37, [0.412 + i / 37, 0.613 + i / 37]
    positive, known = metrics.positives(truth, scores.shape[1])
    row["per_class"] = {}
    for c, name in enumerate(class_names):
        counts = (positive & known)[:, c].sum(), (~positive & known)[:, c].sum()
        defined = all(counts) and not np.isnan(scores[:, c]).any()
        row["per_class"][name] = {
            "auc": 0.7001 + c / 91 if defined else None,
            "auc_95": [0.6003 + c / 91, 0.8005 + c / 91] if defined else [None, None],
            "ap": 0.3007 + c / 91 if defined else None,
            "ap_95": [0.2009 + c / 91, 0.4011 + c / 91] if defined else None,
            "positives": int(counts[0]),
            "negatives": int(counts[1]),
        }
        if multilabel:
            row["per_class"][name] |= {
                "threshold": 0.123,
                "sensitivity": 0.877,
                "specificity": None,
            }
    if not multilabel:
        size = len(class_names)
        row["confusion"] = np.arange(size * size).reshape(size, size).tolist()
    return row


def _result(classification: dict) -> dict:
    return {
        "global_step": 1234,
        "dataset": "derm_bags/x<y",
        "train_split": "train",
        "eval_split": "test",
        "label_fraction": 0.1,
        "seed": 7,
        "label_seed": 41,
        "contrastive": {},
        "labels": {"uncertain_policy": "ignore"},
        "skipped_images": [[3, "/a&b.png", "truncated"]],
        "files": {"result": "/runs/<r>/result.json"},
        "fingerprint": "f00dfeed",
        "classification": classification,
    }


def made_case(n=40, num_classes=3, multilabel=False, seed=0, names=None):
    """Returns (result, view) of made-up cases."""
    rng = np.random.default_rng(seed)
    names = names or tuple(f"class {c}" for c in range(num_classes))
    scores = rng.dirichlet(np.ones(num_classes), n)
    truth = rng.integers(0, num_classes, n)
    if multilabel:
        truth = (rng.uniform(size=(n, num_classes)) < 0.4).astype(float)
        truth[rng.uniform(size=truth.shape) < 0.2] = np.nan
    elif n > 5:
        truth[:2] = -1
    ids = np.array([f"case {i}" for i in range(n)])
    cases = Cases(ids, np.array([f"p{i // 3}" for i in range(n)]), truth, np.ones(n, int))
    features = rng.normal(size=(n, 6))
    labelled = cases.labelled
    rows = {"trained": row_of(truth[labelled], scores[labelled], names)}
    rows["untrained"] = {**rows["trained"], "macro_auc": 0.4567}
    shown = strips.choose_cases(cases, scores, features).pictures
    pictures = {i: rng.integers(0, 255, (20, 30, 3), np.uint8) for i in shown[1:]}  # one is missing
    config = {**Config().replace(dataset="a<b", micle=True).to_dict(), "class_names": list(names)}
    view = report.View(cases, scores, names, features, pictures, config)
    return _result({"linear probe": rows, "kNN": rows}), view


def with_drawings(view):
    """Returns fields of a view with everything that is drawn, of an owner's files."""
    text = PngInfo()
    text.add_text("Source", f"/home/{OWNER}/views.png")
    file = io.BytesIO()
    Image.new("RGB", (900, 300), "red").save(file, "PNG", pnginfo=text)
    rows = [{"step": i, "supervised_loss": 2.0, "learning_rate": 0.1} for i in range(1, 9)]
    alike = near_duplicates.find(np.eye(3)[view.cases.ids.argsort() % 3], view.cases.patients)
    return {
        "near_duplicates": alike,
        "curves": curves.panels(rows, {"loss": 1.9, "accuracy": 0.4}),
        "drawings": {"views": file.getvalue(), "embedding": file.getvalue()},
    }
