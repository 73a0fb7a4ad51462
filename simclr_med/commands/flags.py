"""absl flags made from the fields of `config.py`, and recipes (flag files)."""

from __future__ import annotations

import collections
import dataclasses
import os
import re

from absl import flags

from simclr_med.config import FIELDS, PATHS, RENAMED, Config
from simclr_med.errors import UserError

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_INSTALLED = os.path.join(_PACKAGE, "recipes")  # where the wheel puts the files of flags/
RECIPES = (
    _INSTALLED if os.path.isdir(_INSTALLED) else os.path.join(os.path.dirname(_PACKAGE), "flags")
)
DEMO = os.path.join(RECIPES, "demo.flags")


@dataclasses.dataclass(frozen=True)
class CommandLine:
    """A parsed command line.

    Attributes:
      given: the values given, by file or by hand.
      is_demo: whether it is the demo.
      by_hand: names of the flags that are on the command line itself.
      in_files: names of those in flag files of the user's own. Those of a recipe are in neither.
      sources: {name of a given flag: "command line", or the flag file that set the value it has}.
    """

    given: dict
    is_demo: bool
    by_hand: frozenset[str] = frozenset()
    in_files: frozenset[str] = frozenset()
    sources: dict[str, str] = dataclasses.field(default_factory=dict)


def parse(argv: list[str]) -> CommandLine:
    """Returns the parsed flags of a command line, where `argv[0]` is the program.

    Raises:
      UserError: unknown flag, bad value, missing flag file, or a stray argument.
    """
    renamed: set[str] = set()
    argv = [argv[0], *(_with_new_name(argument, renamed) for argument in argv[1:])]
    named = _names(argv[1:])
    # Who names a folder never gets the demo.
    is_demo = not named & {"dataset", "flagfile", "manual_dir", "image_root"}
    words = " ".join(argv[1:]).replace("=", " ").split()  # --mode=eval or --mode eval
    modes = {value for name, value in zip(words, words[1:]) if name in ("--mode", "-mode")}
    of_a_run = "eval" in modes and named & {"model_dir", "checkpoint"}
    is_demo = is_demo and not of_a_run and not modes & {"compare", "export", "embed", "predict"}
    values = define()
    try:
        rest = values([argv[0], *([f"--flagfile={DEMO}"] if is_demo else []), *argv[1:]])
    except flags.Error as error:
        raise UserError(f"{_error_message(error)} See: python run.py --help") from error
    if len(rest) > 1:
        raise UserError(f"'{rest[1]}' is not a flag; flags begin with --. See: run.py --help")
    for name in sorted(renamed | values.renamed):
        print(f"Note: --{name} is --{RENAMED[name]} now; the old name will go with version 1.0.")
    given = {name: values[name].value for name in FIELDS if values[name].present}
    return CommandLine(
        {name: _at_home(name, value) if name in PATHS else value for name, value in given.items()},
        is_demo,
        by_hand=_fields(named),
        in_files=_fields(_names(values.own_lines)),
        sources=dict(values.sources),
    )


def _at_home(name: str, path: str | None) -> str | None:
    """Returns a path with the home folder for ~ or ~USER at its start, which shells leave in --flag=~/x.

    Done here alone, so that a run is the same one however its paths were given.
    """
    if not path or ("~" not in path and name != "arms"):
        return path
    if name == "runs":  # A,B+C
        return "".join(os.path.expanduser(part) for part in re.split(r"([,+]\s*)", path))
    if name == "features":  # NAME:FILE+FILE2,NAME2:FILE3
        return "".join(os.path.expanduser(part) for part in re.split(r"([,+:]\s*)", path))
    if name == "arms":  # FILE,MINE: arms files are stored with the recipes
        return ",".join(find_recipe(os.path.expanduser(part.strip())) for part in path.split(","))
    if name == "model_dir" and "," in path:  # of --mode=predict
        return "".join(os.path.expanduser(part) for part in re.split(r"(,\s*)", path))
    expanded = os.path.expanduser(path)
    if expanded != path and os.path.exists(path):
        print(
            f"Note: --{name}={path} is {expanded}. There is also a folder or file whose name begins with "
            f"'~', {os.path.abspath(path)}, which earlier versions read and wrote: --{name}=./{path} "
            "names that."
        )
    return expanded


def _with_new_name(argument: str, renamed: set[str]) -> str:
    """Returns an argument, or a line of a file, with the flag's current name; notes the old one."""
    flag = re.match(r"--?(\w+)(?==|$)", argument)
    if not flag or flag[1] not in RENAMED:
        return argument
    renamed.add(flag[1])
    return f"--{RENAMED[flag[1]]}{argument[flag.end() :]}"


def _names(arguments: list[str]) -> set[str]:
    """Returns the names of the flags among arguments or lines, as they are spelled: noNAME too."""
    return {argument.lstrip("-").split("=")[0].strip() for argument in arguments}


def _fields(names: set[str]) -> frozenset[str]:
    """Returns the fields of the configuration that flags of these names set."""
    return frozenset(name for name in FIELDS if {name, f"no{name}"} & names)


def _error_message(error: flags.Error) -> str:
    """Returns absl's error message, reworded where absl's speaks of Python types."""
    text = str(error).strip().removeprefix("ERROR:: ").rstrip(".")
    bad_value = re.match(r"flag (--(\w+)=.*?): ", text, re.DOTALL)
    if isinstance(error, flags.IllegalFlagValueError) and bad_value and bad_value[2] in FIELDS:
        field = FIELDS[bad_value[2]]
        kinds = {"int": "a whole number", "float": "a number", "bool": "true or false"}
        allowed = f"one of {'|'.join(map(str, field.metadata['choices']))}"
        return f"{bad_value[1]} is not {kinds.get(field.type.split(' | ')[0], allowed)}."
    if near := re.fullmatch(r"(.*) Did you mean: (.*) \?", text):
        return f"{near[1]} Did you mean --{near[2].replace(', ', ', --')}?"
    return re.sub(r"\[Errno \d+\] ", "", f"{text}.")


def config_from(given: dict) -> Config:
    """Returns the validated Config of the flags given, defaults elsewhere."""
    return Config.from_dict(given).validate()


def find_recipe(path: str) -> str:
    """Returns the path of a flag file: the user's own, else the recipe flags/NAME.flags or NAME.flags.

    Recipes are found from any folder. A path that is neither comes back as it is.
    """
    name = re.sub(r"^(\./)?flags[/\\]", "", path)
    recipe = os.path.join(RECIPES, name)
    is_recipe = not os.path.exists(path) and os.path.basename(name) == name
    return recipe if is_recipe and os.path.isfile(recipe) else path


class _Line(str):
    """A line of a flag file that knows its file."""

    file: str = ""


def _line_of(file: str, text: str) -> _Line:
    line = _Line(text)
    line.file = file
    return line


class _Flags(flags.FlagValues):
    """absl's flags, whose flag files, nested ones too, may be recipes.

    Attributes:
      own_lines: the flags that stand in files which are no recipes.
      sources: {field: "command line", or the flag file that set it last}.
      renamed: flags that files name as an older version did.
    """

    def __init__(self):
        super().__init__()
        # absl takes other attributes for flags.
        own = {"own_lines": [], "recipe_lines": collections.Counter(), "sources": {}}
        self.__dict__.update(own, renamed=set())

    def read_flags_from_files(self, argv, force_gnu=True):
        """Returns the lines of flag files, then the command line's own, which win; notes the sources.

        absl leaves them in the order of the command line, where a flag before --flagfile would lose.
        """
        arguments = super().read_flags_from_files(argv, force_gnu)
        arguments = sorted(arguments, key=lambda argument: not isinstance(argument, _Line))
        for argument in arguments:  # the later setting wins
            source = getattr(argument, "file", "command line")
            self.sources.update(dict.fromkeys(_fields(_names({argument})), source))
        return arguments

    def _get_flag_file_lines(self, filename, parsed_file_stack=None):
        path = find_recipe(filename)
        lines = super()._get_flag_file_lines(path, parsed_file_stack)  # of nested files too
        is_recipe = os.path.dirname(os.path.realpath(path)) == os.path.realpath(RECIPES)
        file = f"flags/{os.path.basename(path)}" if is_recipe else path
        lines = [
            line if isinstance(line, _Line) else _line_of(file, _with_new_name(line, self.renamed))
            for line in lines
        ]
        if is_recipe:
            self.recipe_lines.update(lines)
        elif not parsed_file_stack:  # the outermost
            self.own_lines.extend((collections.Counter(lines) - self.recipe_lines).elements())
        return lines


def define() -> flags.FlagValues:
    """Returns a fresh set of absl flags, one for each field of the configuration."""
    values = _Flags()
    makers = {
        "str": flags.DEFINE_string,
        "int": flags.DEFINE_integer,
        "float": flags.DEFINE_float,
        "bool": flags.DEFINE_bool,
    }
    for name, field in FIELDS.items():
        kind, choices = field.type.split(" | ")[0], field.metadata["choices"]
        if kind == "str" and choices:
            flags.DEFINE_enum(
                name, field.default, choices, field.metadata["help"], flag_values=values
            )
        else:
            makers[kind](name, field.default, field.metadata["help"], flag_values=values)
    flags.DEFINE_string("flagfile", "", "A file of flags.", flag_values=values)
    return values
