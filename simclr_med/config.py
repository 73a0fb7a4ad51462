"""Every option of a run, once: name, type, default, help. Imports neither TensorFlow nor absl.

`commands/flags.py` turns the fields into absl flags of the same names; `config.json` in a
`model_dir` is `Config.to_dict()`. Names, meanings and defaults follow the `run.py` of Google's
SimCLR for TF 2; where a default differs, the help says why. Leaf functions take the numbers they
need, never a `Config`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from simclr_med.errors import UserError

RESNET_DEPTHS = (18, 34, 50, 101, 152, 200)
# Flags that decide how a folder becomes a prepared dataset.
OF_A_FOLDER = (
    *("on_bad_image", "build_long_side", "top_conditions", "bag_regex", "image_root"),
    *("follow_links", "dicom_frame", "on_missing_image", "on_label_conflict", "missing_labels"),
    *("split_column", "label_columns"),
)
OF_OLDER_RUNS = {"antialias": "false"}  # what a run did whose config.json has no such field
RENAMED = {"views": "projection"}  # {name of a field before: now}; files and flags may have either


def _option(
    default: Any,
    help: str,
    *,
    choices: tuple = (),
    at_least: float | None = None,
    at_most: float | None = None,
    above: float | None = None,
    shapes_weights: bool = True,
) -> Any:
    """Returns a dataclass field.

    `shapes_weights=False` marks an option that can change between a run and its resumption, because
    the final weights do not depend on it. The bounds are checked by `Config.validate`.
    """
    metadata = dict(
        help=help,
        choices=choices,
        at_least=at_least,
        at_most=at_most,
        above=above,
        shapes_weights=shapes_weights,
    )
    return dataclasses.field(default=default, metadata=metadata)


def renamed(values: dict[str, Any]) -> dict[str, Any]:
    """Returns {field: value} of an older version with the names that fields have now."""
    return {RENAMED.get(name, name): value for name, value in values.items()}


def suffix_of(eval_name: str | None) -> str:
    """Returns what the names of the files of `--eval_name` end in: _NAME; "" without a name."""
    return f"_{eval_name}" if eval_name else ""


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """What to do, and where it is stored"""

    mode: str = _option(
        "train",
        "What to do. eval reads the configuration from --model_dir; build only prepares the "
        "dataset; verify also counts it, draws contact_sheet.png, and exits 1 on problems (with "
        "--on_bad_image=skip it lists all unreadable files). export writes the model of --model_dir, "
        "or of --checkpoint, for use elsewhere; embed writes its embeddings of a dataset; predict "
        "scores new images, see Prediction. compare, sweep, label_efficiency and study: see Experiments.",
        choices=(
            "train",
            "eval",
            "train_then_eval",
            "build",
            "verify",
            "export",
            "embed",
            "predict",
            "compare",
            "sweep",
            "label_efficiency",
            "study",
        ),
        shapes_weights=False,
    )
    train_mode: str = _option(
        "pretrain",
        "pretrain: contrastive, no labels needed. finetune: supervised, from --checkpoint.",
        choices=("pretrain", "finetune"),
    )
    model_dir: str | None = _option(
        None,
        "Folder of the run: checkpoints, metrics, pictures, results. Unset: "
        "runs/<dataset>_<method>_<hash of the configuration>, so the same command finds its run.",
        shapes_weights=False,
    )
    checkpoint: str | None = _option(
        None,
        "Start from these weights; the format is detected: a model_dir or checkpoint of simclr_med; a "
        "checkpoint or SavedModel of SimCLR TF2; BiT's .npz; a REMEDIS SavedModel; a ResNet's .h5 of "
        "Keras applications. Their encoder must be the configured one in every variable.",
    )
    keep_head: bool = _option(
        False,
        "Take the classifier of --checkpoint over too, where its classes are the dataset's, in the same "
        "order: to go on from it with --train_mode=finetune, or, with --mode=eval in place of a run, to "
        "evaluate published fine-tuned or supervised weights as they are. Without it the head is new "
        "(SimCLR's code always loads it: it may have seen labels that --label_fraction hides).",
    )
    seed: int = _option(
        0, "Decides weights, order, pairs and augmentations.", at_least=0, at_most=2**31 - 1
    )
    checkpoint_epochs: int = _option(
        1, "Epochs between checkpoints.", at_least=1, shapes_weights=False
    )
    checkpoint_steps: int = _option(
        0,
        "Steps between checkpoints; if given, overrides --checkpoint_epochs.",
        at_least=0,
        shapes_weights=False,
    )
    keep_checkpoint_max: int = _option(
        5, "Newest checkpoints to keep.", at_least=1, shapes_weights=False
    )
    keep_hub_module_max: int = _option(
        1,
        "Newest SavedModels of the encoder to keep; 0: export none (SimCLR's code then keeps all: for "
        "that give a large number).",
        at_least=0,
        shapes_weights=False,
    )
    dry_run: bool = _option(
        False,
        "Print what the command would do, and write nothing to --model_dir: flags and where each was "
        "set, cases and patients per split, steps, parameters, and time, memory and disk from five "
        "measured steps of each kind of run. For the modes that train. A dataset that is not prepared "
        "yet is prepared.",
        shapes_weights=False,
    )
    quiet: bool = _option(
        False,
        "Print only warnings and notes, errors, the main tables and where files are: no progress, no "
        "start-up lines, no further tables.",
        shapes_weights=False,
    )
    verbose: bool = _option(
        False,
        "Print TensorFlow's and absl's own log lines too. (TF_CPP_MIN_LOG_LEVEL, where it is set, still "
        "decides on those of TensorFlow's C++.)",
        shapes_weights=False,
    )


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Data"""

    dataset: str | None = _option(
        None,
        "derm_bags, chexpert, nih_cxr14: read the folder --manual_dir, whose tables say which where this "
        "is not given; derm_bags/demo draws itself; "
        "else a name of TFDS. Unset (and no --flagfile): the embedded demo (SimCLR's default was "
        "imagenet2012).",
    )
    manual_dir: str | None = _option(
        None,
        "Folder of the dataset as you have it; tfds_builders/*/README.md say what it may hold. "
        "derm_bags: manifest.csv (case_id,image_path,label[,patient_id,split,...]) and images.",
        shapes_weights=False,
    )
    data_dir: str | None = _option(
        None,
        "Where prepared TFDS datasets are stored. Unset: TFDS's own ~/tensorflow_datasets.",
        shapes_weights=False,
    )
    train_split: str = _option("train", "Split to train on, and to fit the probes on.")
    eval_split: str = _option(
        "validation",
        "Split to evaluate on; all: every split. Unset, a fine-tuned run is evaluated on all of a "
        "dataset that it has never seen, unless a table names its splits.",
        shapes_weights=False,
    )
    selection_split: str | None = _option(
        None,
        "Split on which are chosen: the best point of a sweep; of a fine-tuned run also the best of "
        "the kept checkpoints, and the thresholds of several labels. No patient of it may be in "
        "--train_split or --eval_split. Unset: the last checkpoint, and no thresholds.",
        shapes_weights=False,
    )
    label_fraction: float = _option(
        1.0,
        "Share of the training patients whose labels are used, by fine-tuning and by the probes: "
        "nested (a smaller share is part of a larger), stratified by label, decided by --seed or "
        "--label_seed. "
        "Pretraining sees all images.",
        above=0.0,
        at_most=1.0,
    )
    cache_dataset: bool = _option(
        False, "Keep the encoded images of the training split in memory.", shapes_weights=False
    )
    shuffle_buffer: int = _option(
        10000,
        "Bags (SimCLR: images) held, encoded, for shuffling, by all workers together.",
        at_least=1,
    )
    on_bad_image: str = _option(
        "error",
        "An unreadable image at build: refuse the folder, or skip the image and list it.",
        choices=("error", "skip"),
    )
    build_long_side: int = _option(
        0,
        "Reduce images at build so that the longer side is at most this, px; 0 keeps them.",
        at_least=0,
    )
    top_conditions: int = _option(
        0,
        "derm_bags: number of labels to keep, the commonest of the training split, and call the rest "
        "Other; 26 makes the paper's 27 classes, 0 keeps all.",
        at_least=0,
    )
    bag_regex: str = _option(
        "",
        "derm_bags, a folder of images without a table: the part of a path that names the case, "
        "e.g. '(case\\d+)_'; groups named case, patient and label say more. Folders label/image and "
        "split/label/image keep their labels and splits.",
    )
    image_root: str | None = _option(
        None,
        "derm_bags, chexpert, nih_cxr14: folder that holds the images, where it is not --manual_dir: "
        "paths in tables are relative to it. Nothing is written there.",
        shapes_weights=False,
    )
    follow_links: bool = _option(
        False,
        "derm_bags, chexpert, nih_cxr14: follow links that lead out of the folder of the images, to "
        "files and to folders. Without it they are refused; links inside it need no flag.",
        shapes_weights=False,
    )
    dicom_frame: str = _option(
        "first",
        "Which frames of a DICOM with several become images: the first, the middle one, or all, which "
        "are then images of one case.",
        choices=("first", "middle", "all"),
    )
    on_missing_image: str = _option(
        "auto",
        "An image that a table names and the folder lacks: refuse the folder, or skip the image and "
        "count it. auto: derm_bags does as --on_bad_image says; chexpert and nih_cxr14, which are often "
        "unpacked in part, skip.",
        choices=("auto", "error", "skip"),
    )
    on_label_conflict: str = _option(
        "error",
        "derm_bags: a case whose rows have different labels: refuse the folder, or leave the case "
        "without a label, or take the label of its last row, or that of most rows (tied: none).",
        choices=("error", "unlabelled", "latest", "majority"),
    )
    missing_labels: str = _option(
        "nan,na,n/a,none,null,unknown,-",
        "derm_bags: values of the label column that mean that there is no label, separated by commas, in "
        "whatever case; an empty cell always does.",
    )
    beam_runner: str | None = _option(
        None,
        "Build with this Apache Beam runner (chexpert, nih_cxr14): DirectRunner, or "
        "apache_beam.runners.dask.dask_runner.DaskRunner for a Dask cluster.",
        shapes_weights=False,
    )
    beam_options: str = _option(
        "",
        "Its options, separated by spaces, e.g. '--direct_num_workers=2 "
        "--direct_running_mode=multi_processing'.",
        shapes_weights=False,
    )
    label_set: str = _option(
        "all",
        "Which labels of a chest X-ray: all the dataset has, CheXpert's five (the paper's; NIH has "
        "them too), or its 14.",
        choices=("all", "chexpert5", "chexpert14"),
    )
    uncertain_policy: str = _option(
        "ignore",
        "What -1 means in CheXpert and in --label_columns: zeros, ones or ignore (no loss, no metric), "
        "or by label, e.g. 'zeros,Atelectasis:ones,Edema:ones'. The paper does not say; ignore claims "
        "nothing.",
    )
    blank_policy: str = _option(
        "negative",
        "What a label means that a report does not mention, and a blank in --label_columns. CheXpert's "
        "authors: negative. ignore: no loss, no metric.",
        choices=("negative", "ignore"),
    )
    projection: str = _option(
        "all",
        "Which X-rays of a study. (--views, its name before, still works and warns.)",
        choices=("all", "frontal", "lateral"),
    )
    bag_by: str = _option(
        "study",
        "study: bags as stored (CheXpert: a study, NIH: an image). patient: all X-rays of a patient "
        "in one bag; labels in which they differ are unknown.",
        choices=("study", "patient"),
    )
    keep_metadata: str = _option(
        "usual",
        "derm_bags, chexpert, nih_cxr14: metadata columns that the prepared copy stores: usual (age, "
        "sex, site, skin type, view, and the columns of --subgroups), all, none, or a list such as "
        "usual,clinic. image_path in the list stores names of files too; else --embed_unit=image "
        "names an image by its row in the table. all is what versions before this flag stored.",
        shapes_weights=False,
    )
    max_bag_size: int = _option(
        6,
        "Images of one bag that fine-tuning and evaluation look at (paper: up to 6 a case); a "
        "larger bag gives a random draw. MICLe's pair is uniform over the whole bag whatever this "
        "says.",
        at_least=1,
    )
    label_seed: int | None = _option(
        None,
        "Decides whose labels --label_fraction keeps. Unset: --seed.",
        at_least=0,
        at_most=2**31 - 1,
    )
    split_column: str = _option(
        "split",
        "derm_bags: the column of manifest.csv that names the split of a row. Without a column of the "
        "default's name patients are split by a hash of their id; any other must be there.",
    )
    label_columns: str = _option(
        "",
        "derm_bags: columns of manifest.csv that are a label each, e.g. edema,effusion, in place of the "
        "one column label. Each is 1, 0, -1 (uncertain) or blank and read as CheXpert's are, by "
        "--uncertain_policy and --blank_policy: a blank is negative unless --blank_policy=ignore.",
    )


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """Augmentation"""

    image_size: int = _option(224, "Side of the network's input, px.", at_least=16, at_most=4096)
    antialias: str = _option(
        "auto",
        "How images are reduced to --image_size in training, evaluation and exports alike. true: a pixel "
        "is the mean of the area that it covers. false: bicubic without a low-pass filter, as SimCLR's "
        "code does, which turns fine texture of large images into false detail; for parity. auto: as the "
        "weights of --checkpoint were trained (SimCLR's, BiT's and REMEDIS's: false), else true, which "
        "is where the default differs from SimCLR's. Enlargement is bicubic in both.",
        choices=("auto", "true", "false"),
    )
    color_jitter_strength: float = _option(
        1.0,
        "Strength of the colour jitter, in fine-tuning too (as in the paper; SimCLR's code fine-tunes "
        "without). 0 turns it off; greyscale is a flag of its own, the next.",
        at_least=0.0,
    )
    grayscale_probability: float = _option(
        0.2,
        "Probability of converting a view to greyscale (0.2: SimCLR, appendix A), in fine-tuning too. "
        "Lower it where colour is diagnostic, as in dermatology. In SimCLR's code it is part of the "
        "jitter: with --color_jitter_strength=0 set this to 0 too for its behaviour.",
        at_least=0.0,
        at_most=1.0,
    )
    use_blur: bool = _option(
        True,
        "Gaussian blur of half of the views, in fine-tuning too (as in the paper; SimCLR's code "
        "fine-tunes without), with a sigma for each image (there: one for each batch of views).",
    )
    rotation_degrees: float = _option(
        0.0,
        "Views are rotated by up to this much either way (paper, chest X-ray: 45).",
        at_least=0.0,
        at_most=180.0,
    )
    crop_min_area: float = _option(
        0.08,
        "Smallest share of an image that a random crop covers, in fine-tuning too (0.08: SimCLR's code). "
        "Higher where a crop of a twelfth would miss the lesion: then two crops of a case have nothing "
        "in common.",
        above=0.0,
        at_most=1.0,
    )

    @property
    def is_antialiased(self) -> bool:
        """Whether reduction has a low-pass filter; 'auto' that nothing has settled means it has."""
        return self.antialias != "false"


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Model"""

    encoder: str = _option(
        "resnet",
        "resnet: SimCLR's. bit: ResNet-v2 with GroupNorm and weight standardisation (Big Transfer, "
        "REMEDIS). keras_resnet: ResNet v1 of Keras applications. Depth and width are below; the last "
        "two have depths 50, 101 and 152, keras_resnet width 1.",
        choices=("resnet", "bit", "keras_resnet"),
    )
    resnet_depth: int = _option(50, "Depth of the ResNet.", choices=RESNET_DEPTHS)
    width_multiplier: int = _option(1, "Multiplier of the ResNet's width.", at_least=1)
    sk_ratio: float = _option(
        0.0, "Above 0: selective kernels; recommended 0.0625.", at_least=0.0, at_most=1.0
    )
    se_ratio: float = _option(0.0, "Above 0: squeeze and excitation.", at_least=0.0, at_most=1.0)
    input_range: str = _option(
        "auto",
        "Pixel range that the encoder expects. unit: [0, 1] (SimCLR); symmetric: [-1, 1] (BiT); caffe: "
        "BGR in [0, 255] minus the ImageNet means (Keras applications). auto: the range that the "
        "weights of --checkpoint were trained with; without --checkpoint the usual one of --encoder.",
        choices=("auto", "unit", "symmetric", "caffe"),
    )
    remat: bool = _option(
        False,
        "Compute a block's activations again in the backward pass instead of keeping them: less "
        "memory, more time, the same numbers.",
        shapes_weights=False,
    )
    batch_norm_decay: float = _option(
        0.9, "Decay of BatchNorm's moving statistics.", at_least=0.0, at_most=1.0
    )
    global_bn: bool = _option(True, "BatchNorm statistics over all replicas, not each alone.")
    proj_head_mode: str = _option(
        "nonlinear", "Projection head.", choices=("none", "linear", "nonlinear")
    )
    proj_out_dim: int = _option(128, "Width of the projection.", at_least=1)
    num_proj_layers: int = _option(
        3, "Layers of the nonlinear projection head (the paper's has 2).", at_least=1
    )
    ft_proj_selector: int = _option(
        0,
        "Layer of the projection head whose output the supervised head and the probes use as features: "
        "0 is the encoder's output, -1 the last layer.",
        at_least=-1,
    )


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Training"""

    micle: bool = _option(
        False,
        "MICLe: a positive pair is two different images of one bag. Without it: SimCLR, two "
        "views of one image.",
    )
    temperature: float = _option(0.1, "Temperature of the contrastive loss.", above=0.0)
    hidden_norm: bool = _option(True, "L2-normalise the projections before the loss.")
    same_patient_negatives: str = _option(
        "mask",
        "Pretraining: whether images (MICLe: bags) of the same patient in a batch count as negatives of "
        "each other. mask: no, because they often show the same finding. keep: yes, as in the paper's "
        "Eq. (1) and SimCLR's code, which ignore patients.",
        choices=("mask", "keep"),
    )
    nt_xent_chunk: int = _option(
        0,
        "Compute the contrastive loss this many rows of logits at a time, to save memory with large "
        "batches: for 16,384 pairs all rows take several GiB, 1,024 rows a few hundred MiB. The loss is "
        "the same. 0: all rows at once.",
        at_least=0,
        shapes_weights=False,
    )
    micro_batch: int = _option(
        0,
        "Examples (pairs; fine-tuning: cases) that each replica encodes at a time, for batches that "
        "do not fit in memory; must divide the batch of a replica. The loss stays that of the whole "
        "batch, all its negatives included, and so does its gradient, for one more forward pass. "
        "BatchNorm is what differs: it normalises by the statistics of these examples (with "
        "--global_bn: on all replicas), not of the batch, and its moving statistics move that much "
        "more often. 0: all at once.",
        at_least=0,
    )
    lineareval_while_pretraining: bool = _option(
        True,
        "Monitor pretraining with a linear classifier trained alongside, behind a stop-gradient. It has "
        "its own Adam optimiser, whose learning rate does not depend on --learning_rate. (SimCLR's code "
        "trains it with the main optimiser; under LARS it diverges.)",
    )
    zero_init_logits_layer: bool = _option(False, "Start the supervised head at zero.")
    fine_tune_after_block: int = _option(
        -1,
        "finetune: freeze the stem and this many block groups, BatchNorm's statistics included "
        "(SimCLR's code normalises frozen blocks by the batch); -1 trains everything, 4 just what is "
        "above the encoder.",
        at_least=-1,
        at_most=4,
    )
    class_weights: str = _option(
        "none",
        "finetune: balanced weighs a class, or the presence and the absence of a label, by the "
        "inverse of its share of the training cases.",
        choices=("none", "balanced"),
    )
    soft_labels: bool = _option(
        True,
        "finetune: a case with a differential (labels with weights) is trained towards the weights' "
        "shares; off: towards its heaviest label alone. Other data is not affected.",
    )
    train_batch_size: int = _option(
        512, "Bags (SimCLR: images) in a batch, over all replicas.", at_least=1
    )
    train_epochs: int = _option(100, "Epochs to train for.", at_least=1)
    train_steps: int = _option(
        0, "Steps to train for; if given, overrides --train_epochs.", at_least=0
    )
    init_head: str = _option(
        "random",
        "finetune: how the supervised head starts. random: N(0, 0.01), or zero with "
        "--zero_init_logits_layer. zero: that. probe: at the weights of the linear probe, a logistic "
        "regression on the features of the labelled training cases as the model starts, with its penalty "
        "chosen on held-out training patients (LP-FT: Kumar et al. 2022, arXiv:2202.10054).",
        choices=("random", "zero", "probe"),
    )
    simclr_unit: str = _option(
        "image",
        "SimCLR: what an example is. image: each image. bag: a bag, of which each epoch shows one image, "
        "drawn uniformly, in both views: the bags that --micle draws, in the same batches, so that the "
        "two differ in the pair alone.",
        choices=("image", "bag"),
    )
    multi_image_repeats: int = _option(
        1,
        "--micle and --simclr_unit=bag: how often an epoch has each bag of several images, with a new "
        "draw each time; bags of one image appear once. For data of which few bags have several. An "
        "epoch is longer by that.",
        at_least=1,
    )


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """Optimiser"""

    optimizer: str = _option("lars", "Optimiser.", choices=("lars", "momentum", "adam"))
    learning_rate: float = _option(0.3, "Learning rate per batch of 256 (see below).", above=0.0)
    learning_rate_scaling: str = _option(
        "linear",
        "linear: learning_rate * batch / 256. sqrt: learning_rate * sqrt(batch).",
        choices=("linear", "sqrt"),
    )
    warmup_epochs: float = _option(10.0, "Epochs of linear warm-up.", at_least=0.0)
    weight_decay: float = _option(1e-6, "Weight decay.", at_least=0.0)
    momentum: float = _option(0.9, "Momentum (lars, momentum).", at_least=0.0, at_most=1.0)
    layer_decay: float = _option(
        1.0,
        "finetune, momentum and adam: the learning rate of a block group is multiplied by "
        "layer_decay**k, k groups below the head: k is 1 for the last group, and for the stem one more "
        "than for the first (Clark et al. 2020, arXiv:2003.10555; Bao et al. 2022, arXiv:2106.08254). "
        "1: one rate for all.",
        above=0.0,
        at_most=1.0,
    )


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """Evaluation"""

    eval_steps: int = _option(
        0,
        "Evaluate at most this many times --eval_batch_size cases; 0: all.",
        at_least=0,
        shapes_weights=False,
    )
    eval_batch_size: int = _option(
        256, "Images in one forward pass of evaluation.", at_least=1, shapes_weights=False
    )
    features_dir: str | None = _option(
        None,
        "Folder on a local disk that keeps the features of cases: evaluations, embeddings and studies "
        "with the same weights, images and preprocessing read them there and need no pass over the "
        "images. 8 KB a case and encoder at 2,048 features; delete it whenever you like.",
        shapes_weights=False,
    )
    eval_name: str | None = _option(
        None,
        "Suffix of this evaluation's files: result_NAME.json, predictions_NAME.csv, ...",
        shapes_weights=False,
    )
    allow_patient_overlap: bool = _option(
        False,
        "Evaluate although patients of --eval_split were trained on, which is refused otherwise; "
        "the terminal, result.json and the report then say how many. Patients on whom the "
        "run or its checkpoint was chosen are never evaluated.",
        shapes_weights=False,
    )
    selection_metric: str = _option(
        "macro_auc",
        "Metric that chooses the best checkpoint, on --selection_split; the highest value wins.",
        choices=("macro_auc", "macro_ap", "balanced_accuracy", "top_1", "quadratic_kappa"),
        shapes_weights=False,
    )
    ordinal: bool = _option(
        False,
        "The classes are grades: quadratic kappa (Cohen 1968) of the grade with the highest score is "
        "shown beside accuracy. Labels that are numbers are ordered as numbers; else give --class_order.",
        shapes_weights=False,
    )
    class_order: str = _option(
        "",
        "With --ordinal: the classes from the lowest grade to the highest, e.g. none,mild,severe. A "
        "grade that no case has may be among them, and keeps its place.",
        shapes_weights=False,
    )
    positive_class: str | None = _option(
        None,
        "The class that matters, e.g. mel: its operating points are shown on the terminal and first in "
        "the report, and predict says of each case whether it is above their thresholds. They are chosen "
        "on --selection_split.",
        shapes_weights=False,
    )
    bootstrap_resamples: int = _option(
        10000,
        "compare, study: swaps of two models' outputs behind a p-value, where patients are too many to "
        "count all swaps. Intervals need none.",
        at_least=100,
        shapes_weights=False,
    )
    export_formats: str = _option(
        "saved_model,keras",
        "export: which files, of saved_model, keras (.keras, .weights.h5 for Keras 2), keras3 (.keras "
        "for Keras 3), onnx (pip install 'PATH_TO_CLONE[onnx]') and torch (.safetensors for timm and "
        "torchvision, of the encoders that these have: pip install 'PATH_TO_CLONE[torch]').",
        shapes_weights=False,
    )
    embed_unit: str = _option(
        "case",
        "embed: a row per case (the mean over its images), or per image.",
        choices=("case", "image"),
        shapes_weights=False,
    )
    subgroups: str = _option(
        "all",
        "Metadata columns by whose values the metrics are shown too, e.g. sex,age: none, a list, or "
        "all, which is the usual ones: age, sex, site, skin type, view. Another column (a referrer, a "
        "postcode) is shown, on a model card too, only when it is named.",
        shapes_weights=False,
    )
    min_subgroup: int = _option(
        10,
        "Subgroups of fewer patients are pooled, column by column, on the terminal, in result.json, "
        "report and model card. A pool that stays below takes in the smallest of the other groups: "
        "else its numbers would follow from theirs. 1 shows all groups, for yourself.",
        at_least=1,
        shapes_weights=False,
    )
    keep_identifiers: bool = _option(
        False,
        "Keep ids of cases, file names, folders and machines in report.html and in the model card of "
        "an export, for yourself; the page then says so at its top. Without it cases are numbered by "
        "their row in predictions.csv.",
        shapes_weights=False,
    )

    @property
    def suffix(self) -> str:
        """What the names of an evaluation's files end in."""
        return suffix_of(self.eval_name)


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """Prediction: --mode=predict --model_dir=RUN[,RUN2...] with --manual_dir=DIR or --images"""

    images: str | None = _option(
        None,
        "predict: the files to score, in place of --manual_dir: a pattern such as 'scans/**/*.png' (in "
        "quotes, ** for folders within folders). Each is a case, unless --bag_regex says otherwise.",
        shapes_weights=False,
    )
    output_dir: str | None = _option(
        None,
        "predict: folder for predictions_NAME.csv, NAME being --eval_name or new. Unset: the first "
        "--model_dir.",
        shapes_weights=False,
    )
    per_image: bool = _option(
        False,
        "predict: also write predictions_NAME_images.csv, a row per image.",
        shapes_weights=False,
    )


@dataclasses.dataclass(frozen=True)
class ExperimentConfig:
    """Experiments: many runs from one command, each in its own folder below --model_dir"""

    repeats: int = _option(
        1,
        "train_then_eval, label_efficiency, study: number of seeds, starting at --seed; mean and "
        "standard deviation (paper: 5 for dermatology, 10 for chest X-rays). A study pretrains once for "
        "each; below 3 it says nothing about recipes.",
        at_least=1,
        shapes_weights=False,
    )
    folds: int = _option(
        0,
        "train_then_eval: number of folds of a cross-validation by patient. A run for each is evaluated "
        "on its share of the patients of --train_split and trained on the others; then there is one "
        "result and one report of all cases. For data of which a test split would hold too few.",
        at_least=0,
        shapes_weights=False,
    )
    runs: str = _option(
        "",
        "compare: A,B[,C...], each a model_dir, model_dir:EVAL_NAME or predictions.csv; B, C, ... "
        "are compared with A on the same patients. Several runs of one recipe are joined by +, as in "
        "A1+A2+A3,B1+B2+B3, or are in seed_*/ of a folder (of a study: subset_*/seed_*/): then intervals "
        "are over runs and patients. Runs of the same labelled cases (--label_fraction below 1), or from "
        "the same first pretraining, are compared in pairs.",
        shapes_weights=False,
    )
    features: str = _option(
        "",
        "compare: NAME:FILE[+FILE2][,NAME2:FILE3], embeddings that other models made of the cases of "
        "--train_split and --eval_split (.npz or .parquet; docs/features.md): each is evaluated by the "
        "linear probe and kNN in MODEL_DIR/NAME, and compared with --runs and with each other.",
        shapes_weights=False,
    )
    label_fractions: str = _option(
        "0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9,1",
        "label_efficiency, study: the values of --label_fraction (paper: 10 % to 90 %).",
        shapes_weights=False,
    )
    sweep_learning_rates: str = _option(
        "0.000316,0.001,0.00316,0.01,0.0316,0.1,0.316",
        "sweep, study: the values of --learning_rate. Paper, section 4.3: seven, logarithmic from "
        "10^-3.5 to 10^-0.5.",
        shapes_weights=False,
    )
    sweep_weight_decays: str = _option(
        "0.00001,0.0001,0.001,0",
        "sweep, study: the values of --weight_decay. Paper, section 4.3: 1e-5, 1e-4, 1e-3 and none.",
        shapes_weights=False,
    )
    simclr_recipe: str = _option(
        "",
        "study: flag file of the first stage of pretraining. Flags of the study's own command win.",
        shapes_weights=False,
    )
    micle_recipe: str = _option(
        "",
        "study: flag file of the second stage, which is MICLe, or the same steps more of SimCLR.",
        shapes_weights=False,
    )
    finetune_recipe: str = _option(
        "",
        "study: flag file of fine-tuning. sweep of a pretraining: each point is judged by such a "
        "fine-tuning, not by a linear probe.",
        shapes_weights=False,
    )
    arms: str | None = _option(
        None,
        "study: FILE.toml[,MINE.toml], arms, tables and figures in place of the three recipes; later "
        "files change what earlier ones say. flags/study_derm.toml and flags/study_cxr.toml are the "
        "paper's.",
        shapes_weights=False,
    )
    weights_dir: str = _option(
        "",
        "study with --arms: folder of the public weights that arms start from. An arm whose weights "
        "are not there is left out, and named.",
        shapes_weights=False,
    )
    shift_dataset: str | None = _option(
        None,
        "study: a dataset to evaluate on too, without any further training.",
        shapes_weights=False,
    )
    shift_manual_dir: str | None = _option(None, "Its --manual_dir.", shapes_weights=False)
    shift_split: str = _option(
        "",
        "Its split. Unset: all of it, unless a table of the dataset names splits; then test.",
        shapes_weights=False,
    )
    sweep_train_steps: str = _option(
        "",
        "sweep, study: the values of --train_steps, each with a schedule of its own. Unset: the length "
        "that the run has anyway.",
        shapes_weights=False,
    )
    sweep_flags: str = _option(
        "",
        "sweep: further flags of the run, with their values: 'temperature=0.1,0.5,1 "
        "train_batch_size=512,1024'. Every combination is a run (paper, section 4.2: of the CheXpert "
        "pretraining).",
        shapes_weights=False,
    )
    uses: str = _option(
        "probe,finetune,probe_finetune",
        "study: what each arm's encoder is used for. probe: logistic regression on frozen features; "
        "finetune: end to end; probe_finetune: end to end, from the probe's weights (--init_head=probe).",
        shapes_weights=False,
    )
    label_subsets: int = _option(
        1,
        "study: number of subsets of the labels that each pretraining is tried with, at every label "
        "fraction below 1. They are the same for all arms and uses.",
        at_least=1,
        shapes_weights=False,
    )
    sweep_label_fraction: str = _option(
        "1",
        "study: label fractions at which each arm's grid is searched, for each use. Every fraction of "
        "--label_fractions takes the choice made at the nearest of these (by ratio).",
        shapes_weights=False,
    )
    study_keep_weights: str = _option(
        "pretraining",
        "study: pretraining removes the checkpoints of a fine-tuned run once it has been evaluated, and "
        "all but the last of a pretraining; all keeps what --keep_checkpoint_max does, which a later "
        "--shift_dataset needs.",
        choices=("pretraining", "all"),
        shapes_weights=False,
    )


@dataclasses.dataclass(frozen=True)
class DeviceConfig:
    """Machine"""

    use_tpu: bool | None = _option(
        None,
        "Unset: take what the machine has (TPU, else GPUs, else CPU). SimCLR's default was true, "
        "which fails without a TPU.",
        shapes_weights=False,
    )
    tpu_name: str | None = _option(
        None, "Name of the Cloud TPU, or grpc://address:8470.", shapes_weights=False
    )
    tpu_zone: str | None = _option(None, "Zone of the Cloud TPU.", shapes_weights=False)
    gcp_project: str | None = _option(None, "Project of the Cloud TPU.", shapes_weights=False)
    master: str | None = _option(
        None, "Address of the TensorFlow master where --tpu_name is unset.", shapes_weights=False
    )
    cpu_replicas: int = _option(
        1, "Split the CPU into this many replicas, to try a multi-replica run.", at_least=1
    )
    num_workers: int = _option(
        1,
        "Worker processes that train together. Above 1 without TF_CONFIG: the tasks of a Slurm job "
        "step (srun --ntasks=N). With TF_CONFIG this may stay 1; another number must be its.",
        at_least=1,
        shapes_weights=False,
    )
    mixed_precision: bool = _option(
        False, "Compute in bfloat16, keep weights and the loss in float32."
    )
    jit_compile: bool = _option(
        False, "Compile the training step with XLA (one replica; needs --nodeterministic)."
    )
    deterministic: bool = _option(
        True, "Only deterministic kernels: a run repeats bit by bit. Off can be faster on GPUs."
    )


GROUPS: dict[str, type] = {
    "run": RunConfig,
    "data": DataConfig,
    "augment": AugmentConfig,
    "model": ModelConfig,
    "train": TrainConfig,
    "optim": OptimConfig,
    "eval": EvalConfig,
    "predict": PredictConfig,
    "experiment": ExperimentConfig,
    "device": DeviceConfig,
}
FIELDS: dict[str, dataclasses.Field] = {
    field.name: field for group in GROUPS.values() for field in dataclasses.fields(group)
}

# What a command does. A flag reaches some of it, and has no effect on a command that does none of that:
# commands/idle_flags.py refuses it or prints a note.
PREPARE = "prepare"  # a dataset, or open one that is prepared
FEATURES = "features"  # evaluate features that other models made
PRETRAIN, FINETUNE = "pretrain", "finetune"  # train
PROBE, SCORE = "probe", "score"  # evaluate a pretrained run, or a fine-tuned one
ADOPT = "adopt"  # take weights of --checkpoint for a fine-tuned run, to evaluate them
EXPORT, EMBED, COMPARE, PREDICT = "export", "embed", "compare", "predict"
REPEAT, SWEEP, LABEL_EFFICIENCY, STUDY = "repeat", "sweep", "label_efficiency", "study"
FOLDS = "folds"
_TRAIN, _EVALUATE = (PRETRAIN, FINETUNE), (PROBE, SCORE)
_READ = (PREPARE, PREDICT)  # a folder of images
_ON_DEVICE = (*_TRAIN, *_EVALUATE, EMBED, PREDICT)
_MODEL = (*_ON_DEVICE, EXPORT)
_ALL = (PREPARE, *_MODEL, COMPARE, REPEAT, FOLDS, SWEEP, LABEL_EFFICIENCY, STUDY)


@dataclasses.dataclass(frozen=True)
class Reach:
    """Where a flag has an effect.

    Attributes:
      work: the kinds of work that it reaches.
      shapes_results: whether who gives it expects other numbers, so that it must not be ignored.
      set_in: values of --mode in which the command sets it itself.
      only_if: {another flag: the values of it with which this one has an effect; None: any but the
        empty or 0}.
      unless: a flag that overrides this one where it is true, or above 0.
    """

    work: tuple[str, ...]
    shapes_results: bool = True
    set_in: tuple[str, ...] = ()
    only_if: dict[str, tuple | None] = dataclasses.field(default_factory=dict)
    unless: str = ""


_RUNS = ("sweep", "label_efficiency", "study")  # modes that name the evaluations of their runs
REACH: dict[str, Reach] = {
    # Run
    "mode": Reach(_ALL),
    "train_mode": Reach((*_TRAIN, ADOPT), set_in=("study",)),
    "model_dir": Reach((*_MODEL, COMPARE), shapes_results=False),
    "checkpoint": Reach((*_TRAIN, EXPORT, EMBED, ADOPT)),
    "keep_head": Reach((FINETUNE, ADOPT), only_if={"checkpoint": None}),
    "seed": Reach((*_TRAIN, *_EVALUATE, EMBED, COMPARE)),
    "checkpoint_epochs": Reach(_TRAIN, shapes_results=False, unless="checkpoint_steps"),
    "checkpoint_steps": Reach(_TRAIN, shapes_results=False),
    "keep_checkpoint_max": Reach(_TRAIN, shapes_results=False),
    "keep_hub_module_max": Reach(_EVALUATE, shapes_results=False),
    "dry_run": Reach(_TRAIN),
    "quiet": Reach(_ALL, shapes_results=False),
    "verbose": Reach(_ALL, shapes_results=False),
    # Data
    "dataset": Reach((PREPARE, EXPORT, PREDICT), shapes_results=False),  # of an export: its folder
    "manual_dir": Reach(_READ, shapes_results=False),
    "data_dir": Reach((PREPARE,), shapes_results=False),
    "train_split": Reach((*_TRAIN, *_EVALUATE, FEATURES)),
    "eval_split": Reach((*_EVALUATE, EMBED, FEATURES)),
    "selection_split": Reach((SCORE, SWEEP, EXPORT, EMBED, PREDICT)),
    "label_fraction": Reach((*_TRAIN, PROBE, FEATURES), set_in=("label_efficiency", "study")),
    "cache_dataset": Reach(_TRAIN, shapes_results=False),
    "shuffle_buffer": Reach(_TRAIN),
    "on_bad_image": Reach((PREPARE,)),
    "build_long_side": Reach(_READ),
    "top_conditions": Reach((PREPARE,)),
    "bag_regex": Reach(_READ),
    "image_root": Reach(_READ, shapes_results=False),
    "follow_links": Reach(_READ, shapes_results=False),
    "dicom_frame": Reach(_READ),
    "on_missing_image": Reach((PREPARE,)),
    "on_label_conflict": Reach((PREPARE,)),
    "missing_labels": Reach((PREPARE,)),
    "beam_runner": Reach((PREPARE,), shapes_results=False),
    "beam_options": Reach((PREPARE,), shapes_results=False, only_if={"beam_runner": None}),
    **dict.fromkeys(
        ("label_set", "uncertain_policy", "blank_policy"),
        Reach((*_TRAIN, *_EVALUATE, EMBED, FEATURES)),
    ),
    **dict.fromkeys(("projection", "bag_by"), Reach((*_ON_DEVICE, FEATURES))),
    "keep_metadata": Reach((PREPARE,), shapes_results=False),
    "max_bag_size": Reach((FINETUNE, *_EVALUATE, EMBED)),
    "label_seed": Reach((*_TRAIN, PROBE, FEATURES), set_in=("study",)),
    "split_column": Reach((PREPARE,)),
    "label_columns": Reach((PREPARE,)),
    # Augmentation
    "image_size": Reach(_MODEL),
    "antialias": Reach(_MODEL),
    "color_jitter_strength": Reach(_TRAIN),
    "grayscale_probability": Reach(_TRAIN),
    "use_blur": Reach(_TRAIN),
    "rotation_degrees": Reach(_TRAIN),
    "crop_min_area": Reach(_TRAIN),
    # Model
    **dict.fromkeys(
        ("encoder", "resnet_depth", "width_multiplier", "sk_ratio", "se_ratio", "input_range"),
        Reach(_MODEL),
    ),
    "remat": Reach(_TRAIN, shapes_results=False),
    "batch_norm_decay": Reach(_TRAIN),
    "global_bn": Reach(_TRAIN),
    "proj_head_mode": Reach(_MODEL),
    "proj_out_dim": Reach(_MODEL, only_if={"proj_head_mode": ("linear", "nonlinear")}),
    "num_proj_layers": Reach(_MODEL, only_if={"proj_head_mode": ("nonlinear",)}),
    "ft_proj_selector": Reach(_MODEL),
    # Training
    "micle": Reach((PRETRAIN,), set_in=("study",)),
    "temperature": Reach((PRETRAIN,)),
    "hidden_norm": Reach((PRETRAIN,)),
    "same_patient_negatives": Reach((PRETRAIN,)),
    "nt_xent_chunk": Reach((PRETRAIN,), shapes_results=False),
    "micro_batch": Reach(_TRAIN),
    "lineareval_while_pretraining": Reach((PRETRAIN,), shapes_results=False),
    "zero_init_logits_layer": Reach(_TRAIN, unless="keep_head"),
    "fine_tune_after_block": Reach((FINETUNE,)),
    "class_weights": Reach((FINETUNE,)),
    "soft_labels": Reach((FINETUNE,)),
    "train_batch_size": Reach(_TRAIN),
    "train_epochs": Reach(_TRAIN, unless="train_steps"),
    "train_steps": Reach(_TRAIN),
    "init_head": Reach((FINETUNE,), set_in=("study",)),
    "simclr_unit": Reach((PRETRAIN,), set_in=("study",), unless="micle"),
    "multi_image_repeats": Reach((PRETRAIN,)),
    # Optimiser
    "optimizer": Reach(_TRAIN),
    "learning_rate": Reach(_TRAIN, set_in=("sweep",)),
    "learning_rate_scaling": Reach(_TRAIN),
    "warmup_epochs": Reach(_TRAIN),
    "weight_decay": Reach(_TRAIN, set_in=("sweep",)),
    "momentum": Reach(_TRAIN, only_if={"optimizer": ("lars", "momentum")}),
    "layer_decay": Reach((FINETUNE,)),
    # Evaluation
    "eval_steps": Reach(_EVALUATE),
    "eval_batch_size": Reach((*_EVALUATE, EMBED, PREDICT), shapes_results=False),
    "features_dir": Reach((*_EVALUATE, EMBED), shapes_results=False),
    "eval_name": Reach((*_EVALUATE, EMBED, PREDICT), shapes_results=False, set_in=_RUNS),
    "allow_patient_overlap": Reach((*_EVALUATE, FEATURES, SWEEP)),
    "selection_metric": Reach((SCORE, SWEEP)),
    "ordinal": Reach((PREPARE, *_EVALUATE, FEATURES, COMPARE, STUDY)),
    "class_order": Reach(
        (PREPARE, *_EVALUATE, FEATURES, COMPARE, STUDY), only_if={"ordinal": None}
    ),
    "positive_class": Reach((SCORE, PREDICT), shapes_results=False),
    "bootstrap_resamples": Reach((COMPARE, STUDY), shapes_results=False),
    "export_formats": Reach((EXPORT,), shapes_results=False),
    "embed_unit": Reach((EMBED,)),
    "subgroups": Reach((*_EVALUATE, FEATURES)),
    "min_subgroup": Reach((*_EVALUATE, EXPORT, FEATURES)),
    "keep_identifiers": Reach((*_EVALUATE, EXPORT, FEATURES), shapes_results=False),
    # Prediction
    "images": Reach((PREDICT,), shapes_results=False),
    "output_dir": Reach((PREDICT,), shapes_results=False),
    "per_image": Reach((PREDICT,), shapes_results=False),
    # Experiments
    "repeats": Reach((REPEAT,)),
    "folds": Reach((FOLDS,)),
    "runs": Reach((COMPARE,)),
    "features": Reach((COMPARE,)),
    "label_fractions": Reach((LABEL_EFFICIENCY, STUDY)),
    "sweep_learning_rates": Reach((SWEEP, STUDY)),
    "sweep_weight_decays": Reach((SWEEP, STUDY)),
    "simclr_recipe": Reach((STUDY,)),
    "micle_recipe": Reach((STUDY,)),
    "finetune_recipe": Reach((SWEEP, STUDY)),
    "arms": Reach((STUDY,)),
    "weights_dir": Reach((STUDY,), only_if={"arms": None}),
    "shift_dataset": Reach((STUDY,)),
    "shift_manual_dir": Reach((STUDY,), only_if={"shift_dataset": None}),
    "shift_split": Reach((STUDY,), only_if={"shift_dataset": None}),
    "sweep_train_steps": Reach((SWEEP, STUDY)),
    "sweep_flags": Reach((SWEEP,)),
    "uses": Reach((STUDY,)),
    "label_subsets": Reach((STUDY,)),
    "sweep_label_fraction": Reach((STUDY,)),
    "study_keep_weights": Reach((STUDY,), shapes_results=False),
    # Machine: other numbers by rounding at most
    "use_tpu": Reach(_ON_DEVICE, shapes_results=False),
    "tpu_name": Reach(_ON_DEVICE, shapes_results=False),
    "tpu_zone": Reach(_ON_DEVICE, shapes_results=False),
    "gcp_project": Reach(_ON_DEVICE, shapes_results=False),
    "master": Reach(_ON_DEVICE, shapes_results=False),
    "cpu_replicas": Reach(_ON_DEVICE, shapes_results=False),
    "num_workers": Reach(_ALL, shapes_results=False),
    "mixed_precision": Reach(_ON_DEVICE, shapes_results=False),
    "jit_compile": Reach(_TRAIN, shapes_results=False),
    "deterministic": Reach(_ON_DEVICE, shapes_results=False),
}


def work_of(
    mode: str, train_mode: str, of_run: bool = True, features: bool = False
) -> tuple[str, ...]:
    """Returns what a command does, of the constants above.

    Training includes the evaluation that may follow by --mode=eval: it reads its flags from the run.

    Args:
      mode: the --mode.
      train_mode: of the run, which may be trained already.
      of_run: of eval: whether a run in --model_dir is evaluated, or the weights of --checkpoint.
      features: of compare: whether features of other models are evaluated first.
    """
    training = FINETUNE if train_mode == "finetune" else PRETRAIN
    evaluation = SCORE if train_mode == "finetune" else PROBE
    run = (PREPARE, training, evaluation)
    return {
        "train": run,
        "train_then_eval": (*run, REPEAT, FOLDS),
        "eval": (PREPARE, evaluation, *([] if of_run else [ADOPT])),
        "build": (PREPARE,),
        "verify": (PREPARE,),
        "export": (EXPORT,),
        "embed": (PREPARE, EMBED),
        "predict": (PREDICT,),
        "compare": (COMPARE, *((PREPARE, FEATURES) if features else ())),
        "sweep": (*run, SWEEP),
        "label_efficiency": (*run, REPEAT, LABEL_EFFICIENCY),
        "study": (PREPARE, *_TRAIN, *_EVALUATE, REPEAT, SWEEP, LABEL_EFFICIENCY, STUDY),
    }[mode]


# Their values are paths of folders or files (of `runs`: several): ~ at their start is the home folder.
PATHS = (
    *("model_dir", "checkpoint", "manual_dir", "data_dir", "image_root", "shift_manual_dir"),
    *(
        "images",
        "output_dir",
        "features_dir",
        "runs",
        "features",
        "simclr_recipe",
        "micle_recipe",
        "finetune_recipe",
        "arms",
        "weights_dir",
    ),
)
# Their values name folders, files, ids or machines of whoever ran: none of a reader's business.
PRIVATE = frozenset(
    {
        *("model_dir", "manual_dir", "data_dir", "checkpoint", "shift_manual_dir", "runs"),
        *("simclr_recipe", "micle_recipe", "finetune_recipe", "bag_regex", "beam_runner"),
        *("arms", "weights_dir"),
        *("images", "output_dir", "features", "features_dir"),
        *("image_root", "beam_options", "tpu_name", "tpu_zone", "gcp_project", "master"),
    }
)


@dataclasses.dataclass(frozen=True)
class Config:
    """A whole run. Field names are unique over the groups, so a flat dict says it all."""

    run: RunConfig = RunConfig()
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    optim: OptimConfig = OptimConfig()
    eval: EvalConfig = EvalConfig()
    predict: PredictConfig = PredictConfig()
    experiment: ExperimentConfig = ExperimentConfig()
    device: DeviceConfig = DeviceConfig()

    def to_dict(self) -> dict[str, Any]:
        """Returns {field name: value}, flat, in the order of the groups."""
        groups = (dataclasses.asdict(getattr(self, name)) for name in GROUPS)
        return {key: value for group in groups for key, value in group.items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Config:
        """Returns the Config with `values`, defaults elsewhere.

        Raises:
          UserError: for a name that is no option.
        """
        unknown = sorted(set(values) - set(FIELDS))
        if unknown:
            raise UserError(f"Unknown configuration field {', '.join(unknown)}.")
        groups = {}
        for name, group in GROUPS.items():
            names = [field.name for field in dataclasses.fields(group)]
            groups[name] = group(**{key: values[key] for key in names if key in values})
        return cls(**groups)

    def replace(self, **values: Any) -> Config:
        """Returns a copy with the named fields changed."""
        return Config.from_dict({**self.to_dict(), **values})

    def validate(self) -> Config:
        """Returns itself, if every value is possible.

        Raises:
          UserError: names the flag, the value and what is allowed.
        """
        for name, value in self.to_dict().items():
            if value is not None:
                _check_bounds(name, value, FIELDS[name].metadata)
        if self.model.ft_proj_selector > self.num_proj_outputs:
            raise UserError(
                f"--ft_proj_selector={self.model.ft_proj_selector} is past the last layer of the "
                f"projection head, which is {self.num_proj_outputs}."
            )
        if "/" in (self.eval.eval_name or ""):
            raise UserError(
                f"--eval_name={self.eval.eval_name} becomes part of the names of files: leave out the /."
            )
        self._check_encoder()
        self._check_head()
        self._check_bags()
        if self.run.train_mode == "pretrain" and self.train.fine_tune_after_block > -1:
            raise UserError(
                f"--fine_tune_after_block={self.train.fine_tune_after_block} freezes layers, which "
                "only --train_mode=finetune can do. Leave it at -1 while pretraining."
            )
        if self.device.jit_compile and self.device.deterministic:
            raise UserError(
                "--jit_compile needs --nodeterministic: XLA has no deterministic gradient of max "
                "pooling."
            )
        if self.eval.selection_metric == "quadratic_kappa" and not self.eval.ordinal:
            raise UserError("--selection_metric=quadratic_kappa is of grades: add --ordinal.")
        if self.run.train_mode == "finetune" and self.train.micle:
            raise UserError("--micle is a way of pretraining; drop it, or --train_mode=finetune.")
        return self

    def _check_head(self) -> None:
        """Refuses two ways to start the head, and rates by layer where there are no such rates."""
        init, optim = self.train.init_head, self.optim
        other = {"keep_head": self.run.keep_head}
        if init == "probe":
            other["zero_init_logits_layer"] = self.train.zero_init_logits_layer
        for name, is_set in other.items():
            if init != "random" and is_set:
                raise UserError(
                    f"--init_head={init} and --{name} start the head in two ways: give one of them "
                    f"(--no{name} undoes that of a recipe)."
                )
        if (
            self.run.train_mode == "finetune"
            and optim.layer_decay < 1
            and optim.optimizer == "lars"
        ):
            raise UserError(
                f"--layer_decay={optim.layer_decay:g}: LARS sets the rate of each layer by its weights "
                "and gradient. Give --optimizer=momentum or adam, or leave --layer_decay out."
            )

    def _check_bags(self) -> None:
        train = self.train
        by_image = not train.micle and train.simclr_unit == "image"
        if self.run.train_mode == "pretrain" and by_image and train.multi_image_repeats > 1:
            raise UserError(
                f"--multi_image_repeats={train.multi_image_repeats} repeats bags, and SimCLR draws "
                "images: give --micle or --simclr_unit=bag, or leave it out."
            )

    def _check_encoder(self) -> None:
        model = self.model
        if model.encoder == "resnet":
            return
        for name, possible in (
            ("resnet_depth", (50, 101, 152)),
            ("width_multiplier", (model.width_multiplier if model.encoder == "bit" else 1,)),
            ("sk_ratio", (0.0,)),
            ("se_ratio", (0.0,)),
        ):
            if (value := getattr(model, name)) not in possible:
                raise UserError(
                    f"--{name}={value}: --encoder={model.encoder} has it only as "
                    f"{' or '.join(map(str, possible))}."
                )

    @property
    def num_proj_outputs(self) -> int:
        """Layers of the projection head: none 0, linear 1, nonlinear --num_proj_layers."""
        layers = {"none": 0, "linear": 1, "nonlinear": self.model.num_proj_layers}
        return layers[self.model.proj_head_mode]

    @property
    def method(self) -> str:
        """micle, simclr or finetune."""
        if self.run.train_mode == "finetune":
            return "finetune"
        return "micle" if self.train.micle else "simclr"


def fields_that_shape_weights() -> tuple[str, ...]:
    """Names of the options that must be equal for a run to be resumed."""
    return tuple(n for n, field in FIELDS.items() if field.metadata["shapes_weights"])


def _check_bounds(name: str, value: Any, option: Any) -> None:
    if option["choices"] and value not in option["choices"]:
        allowed = "|".join(map(str, option["choices"]))
        raise UserError(f"--{name}={value} is not one of {allowed}.")
    if option["at_least"] is not None and not value >= option["at_least"]:
        raise UserError(f"--{name}={value} must be at least {option['at_least']}.")
    if option["at_most"] is not None and not value <= option["at_most"]:
        raise UserError(f"--{name}={value} must be at most {option['at_most']}.")
    if option["above"] is not None and not value > option["above"]:
        raise UserError(f"--{name}={value} must be above {option['above']}.")
