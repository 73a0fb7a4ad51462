"""An arms file: which arms a study has, and how its tables and figures show them, in TOML.

    [encoders.r50_1x]            # title, and the flags of an architecture
    [weights.imagenet]           # title, method, where (they are published), and for each encoder its
    [weights.imagenet.path]      # path below --weights_dir
    [stages.derm]                # of pretraining: title (its data; "": the same), method, recipe, flags
    [arms.r50_1x-imagenet-derm]  # encoder; start: weights ("": random); stages; label_efficiency
    [[comparisons]]              # question; a, b: arms; of b - a
    [[tables]]                   # title; columns: [heading, what]; rows: [arm, published number, ...]
    [[figures]]                  # title; file; kind: bars, shift or labels; arms

Stages that arms share are run once. An arm whose weights are not there is left out, and named. Of several
files the later ones change or add to what the earlier ones say.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import tomllib

from simclr_med.config import FIELDS, Config
from simclr_med.errors import UserError
from simclr_med.experiments import study_plan
from simclr_med.experiments.study_plan import Arm, Plan, Stage
from simclr_med.metrics.text import TITLES
from simclr_med.run_folder import gfile
from simclr_med.run_folder.files import read_text

KINDS = ("bars", "shift", "labels")  # of figures
OF_ARM = ("encoder", "method", "data", "micle")  # of columns, beside metrics
_SECTIONS = ("encoders", "weights", "stages", "arms")
_LISTS = ("comparisons", "tables", "figures")
_KEYS = {
    "encoders": {"title"},
    "weights": {"title", "method", "where", "path"},
    "stages": {"title", "method", "recipe"},
    "arms": {"encoder", "start", "stages", "label_efficiency"},
    "comparisons": {"question", "a", "b"},
    "tables": {"title", "columns", "rows"},
    "figures": {"title", "file", "kind", "arms"},
}
_OPTIONAL = {"start", "stages", "label_efficiency", "where"}
_WITH_FLAGS = ("encoders", "stages")
ARCHITECTURE = {
    "encoder",
    "resnet_depth",
    "width_multiplier",
    "sk_ratio",
    "se_ratio",
    "input_range",
}
Content = dict[str, Any]


def read(paths: str) -> Content:
    """Returns the content of arms files, checked.

    Args:
      paths: of one file, or of several, separated by commas.

    Raises:
      UserError: a file cannot be read, is not TOML, or has a key or value that is not possible.
    """
    content: Content = {name: {} for name in _SECTIONS} | {name: [] for name in _LISTS}
    for path in (part.strip() for part in paths.split(",")):
        try:
            document = tomllib.loads(read_text(path))
        except (OSError, ValueError) as error:
            raise UserError(f"--arms={path} cannot be read: {error}") from error
        _merge(path, content, document)
    for name in _SECTIONS:
        for key, values in content[name].items():
            _check_keys(paths, f"[{name}.{key}]", values, name)
    for name in _LISTS:
        for i, values in enumerate(content[name]):
            _check_keys(paths, f"[[{name}]] number {i + 1}", values, name)
    if not content["arms"] or "finetune" not in content:
        raise UserError(f"--arms={paths}: no [arms.NAME], or no 'finetune = RECIPE' at its top.")
    _check_references(paths, content)
    return content


def recipes(content: Content, given: dict) -> dict[str, tuple[str, dict]]:
    """Returns {name: (flag file, flags on top of it)} of all configurations that the arms need.

    "finetune" is fine-tuning with the first arm's encoder, ENCODER/finetune with each encoder, and
    ENCODER/STAGE each stage of pretraining.

    Args:
      content: of the arms files.
      given: {flag: value} of the study's own command.

    Raises:
      UserError: the study's own command names the architecture, which the arms do.
    """
    if named := sorted(ARCHITECTURE & set(given)):
        raise UserError(
            f"--{named[0]}={given[named[0]]}: with --arms the encoders are those of the file's "
            "[encoders.NAME]; change them there, or in a second file: --arms=FILE,MINE."
        )
    tune = str(content["finetune"])
    sources: dict[str, tuple[str, dict]] = {}
    for arm in content["arms"].values():
        encoder = arm["encoder"]
        shape = _flags(content["encoders"][encoder], "encoders")
        sources.setdefault("finetune", (tune, shape))
        sources[f"{encoder}/finetune"] = (tune, shape)
        for name in arm.get("stages", []):
            stage = content["stages"][name]
            sources[f"{encoder}/{name}"] = (stage["recipe"], {**_flags(stage, "stages"), **shape})
    return sources


def plan(config: Config, configs: dict[str, Config], model_dir: str) -> Plan:
    """Returns the plan of a study whose arms `--arms` names.

    Args:
      config: of the study's own command.
      configs: by the names of `recipes`.
      model_dir: of the study.

    Raises:
      UserError: a mistake in the file, `--uses`, the fractions or the grids; no arm has its weights.
    """
    content = read(str(config.experiment.arms))
    stages: dict[str, Stage] = {}
    arms: dict[str, Arm] = {}
    left_out = []
    for key in content["arms"]:
        missing = _missing(config, content, key)
        if missing:
            left_out.append({"arm": _title(content, key), **missing})
        else:
            arms[key] = _arm(config, configs, content, key, stages, model_dir)
    if not arms:
        first = left_out[0]
        raise UserError(
            f"--arms={config.experiment.arms}: no arm can be made: none of the weights exist, such as "
            f"{first['path']}, published at {first['where']}. See --weights_dir."
        )
    base = study_plan.without_arms(config, {"finetune": configs["finetune"]})
    names = {key: arm.name for key, arm in arms.items()}
    comparisons = [
        {**row, "a": names[row["a"]], "b": names[row["b"]]}
        for row in content["comparisons"]
        if {row["a"], row["b"]} <= set(names)
    ]
    return dataclasses.replace(
        base,
        stages=list(stages.values()),
        arms=list(arms.values()),
        comparisons=comparisons,
        layout={
            "title": str(content.get("title", "")),
            "arms": {key: _facts(content, key) for key in content["arms"]},
            "left_out": left_out,
            "comparisons": comparisons,
            "tables": content["tables"],
            "figures": content["figures"],
        },
    )


def _arm(
    config: Config,
    configs: dict[str, Config],
    content: Content,
    key: str,
    stages: dict[str, Stage],
    model_dir: str,
) -> Arm:
    """Returns an arm, and adds its stages to those of the study."""
    entry = content["arms"][key]
    encoder, begin = entry["encoder"], entry.get("start", "")
    start: Stage | str | None = _path(config, content, key) if begin else None
    names: list[str] = []
    for name in entry.get("stages", []):
        names.append(name)
        folder = f"pretrain/{encoder}/{'+'.join([begin or 'random', *names])}"
        recipe = study_plan.of_pretraining(configs[f"{encoder}/{name}"])
        title = f"{content['encoders'][encoder]['title']}, {_description(content, begin, names)}"
        start = stages.setdefault(folder, Stage(folder, folder, recipe, start, title))
    facts = _facts(content, key)
    return Arm(
        facts["name"],
        key,
        os.path.join(model_dir, start.folder) if isinstance(start, Stage) else start,
        facts["data"] or "none",
        of_seeds=isinstance(start, Stage),
        recipe=configs[f"{encoder}/finetune"],
        all_labels_only=not entry.get("label_efficiency", False),
    )


def _facts(content: Content, key: str) -> dict[str, str]:
    """Returns {"name"} and `OF_ARM` of an arm, as tables have them."""
    arm = content["arms"][key]
    method, data = _method_and_data(content, arm.get("start", ""), arm.get("stages", []))
    facts = {
        "encoder": content["encoders"][arm["encoder"]]["title"],
        "method": method,
        "data": data,
    }
    return {"name": _title(content, key), **facts, "micle": "Yes" if method == "MICLe" else "No"}


def _title(content: Content, key: str) -> str:
    """Returns the name of an arm in tables: "ResNet-50 (4×), MICLe, ImageNet → Derm"."""
    arm = content["arms"][key]
    pretraining = _description(content, arm.get("start", ""), arm.get("stages", []))
    return f"{content['encoders'][arm['encoder']]['title']}, {pretraining}"


def _description(content: Content, start: str, stages: list[str]) -> str:
    method, data = _method_and_data(content, start, stages)
    return f"{method}, {data}" if data else method


def _method_and_data(content: Content, start: str, stages: list[str]) -> tuple[str, str]:
    """Returns the last step's method and all data, as the paper's tables name them."""
    steps = [content["weights"][start]] if start else []
    steps += [content["stages"][name] for name in stages]
    if not steps:
        return "no pretraining", ""
    return steps[-1]["method"], " → ".join(step["title"] for step in steps if step["title"])


def _path(config: Config, content: Content, key: str) -> str | None:
    """Returns where the weights of an arm are looked for; None where the file names no path."""
    arm = content["arms"][key]
    path = content["weights"][arm["start"]]["path"].get(arm["encoder"])
    return path and os.path.join(config.experiment.weights_dir, path)


def _missing(config: Config, content: Content, key: str) -> dict | None:
    """Returns {"weights", "path", "where"} of an arm whose weights are not there; None of others."""
    start = content["arms"][key].get("start", "")
    if not start:
        return None
    path = _path(config, content, key)
    if path and (gfile.exists(path) or gfile.exists(f"{path}.index")):
        return None
    where = content["weights"][start].get("where", "")
    title = f"{content['weights'][start]['method']}, {content['weights'][start]['title']}"
    return {"weights": title, "path": path or "no path is named", "where": where or "not said"}


def _flags(values: dict, section: str) -> dict:
    return {name: value for name, value in values.items() if name not in _KEYS[section]}


def _merge(path: str, content: Content, document: dict) -> None:
    """Changes `content` by what one file says."""
    for name, value in document.items():
        if name in _SECTIONS and isinstance(value, dict):
            for key, values in value.items():
                before = content[name].get(key, {})
                if "path" in before and "path" in values:
                    values = {**values, "path": {**before["path"], **values["path"]}}
                content[name][key] = {**before, **values}
        elif name in _LISTS and isinstance(value, list) or name in ("title", "finetune"):
            content[name] = value
        else:
            known = ", ".join(("title", "finetune", *_SECTIONS, *_LISTS))
            raise UserError(f"--arms={path}: '{name}' is not known there; known are {known}.")


def _check_keys(paths: str, where: str, values: dict, section: str) -> None:
    """Refuses keys that nothing reads, and missing ones."""
    lacks = sorted(_KEYS[section] - _OPTIONAL - set(values))
    unknown = sorted(set(values) - _KEYS[section])
    if section in _WITH_FLAGS:
        unknown = [name for name in unknown if name not in FIELDS]
        if section == "encoders":
            unknown = sorted(set(values) - _KEYS[section] - ARCHITECTURE)
    if lacks or unknown:
        what = f"'{lacks[0]}' is missing" if lacks else f"'{unknown[0]}' is not known"
        also = {"encoders": " and flags of the encoder", "stages": " and flags"}.get(section, "")
        known = ", ".join(sorted(_KEYS[section]))
        raise UserError(f"--arms={paths}: {where}: {what}; known are {known}{also}.")


def _check_references(paths: str, content: Content) -> None:
    """Refuses names of what is not there, two arms of one title, and columns that nothing fills."""

    def need(where: str, section: str, name: str) -> None:
        if name not in content[section]:
            names = ", ".join(content[section]) or "none"
            raise UserError(f"--arms={paths}: {where}: no [{section}.{name}]; there are {names}.")

    for key, arm in content["arms"].items():
        where = f"[arms.{key}]"
        need(where, "encoders", arm["encoder"])
        for name in [arm["start"]] if arm.get("start") else []:
            need(where, "weights", name)
        for name in arm.get("stages", []):
            need(where, "stages", name)
    titles: dict[str, str] = {}
    for key in content["arms"]:
        other = titles.setdefault(_title(content, key), key)
        if other != key:
            raise UserError(
                f"--arms={paths}: [arms.{other}] and [arms.{key}] are the same: {_title(content, key)}."
            )
    for row in content["comparisons"]:
        for side in ("a", "b"):
            need(f"[[comparisons]] '{row['question']}'", "arms", row[side])
    for figure in content["figures"]:
        for arm in figure["arms"]:
            need(f"[[figures]] '{figure['title']}'", "arms", arm)
        if figure["kind"] not in KINDS:
            raise UserError(
                f"--arms={paths}: [[figures]] '{figure['title']}': kind = '{figure['kind']}' is none of "
                f"{', '.join(KINDS)}."
            )
    for table in content["tables"]:
        _check_table(paths, table, need)


def _check_table(paths: str, table: dict, need) -> None:
    where = f"[[tables]] '{table['title']}'"
    metrics = [what for _, what in table["columns"] if what not in OF_ARM]
    for what in metrics:
        if what not in TITLES:
            raise UserError(
                f"--arms={paths}: {where}: column '{what}' is none of {', '.join((*OF_ARM, *TITLES))}."
            )
    for arm, *published in table["rows"]:
        need(where, "arms", arm)
        if len(published) not in (0, len(metrics)):
            raise UserError(
                f"--arms={paths}: {where}: row '{arm}' has {len(published)} published numbers and the "
                f"table {len(metrics)} columns of numbers."
            )
