"""The exceptions that mean "the user can fix this in their data"."""


class DataError(ValueError):
    """An error message about the user's data: what, where (file, row), what was received, what to do."""


class ImageError(ValueError):
    """A plain reason why a file cannot be used, e.g. "the file has 0 bytes"."""


# In the reason of an image that a decoder not installed would read.
NOT_INSTALLED = "which this installation cannot read"


class NotAPicture(ImageError):
    """An intact file without a picture, such as a DICOM segmentation or report: it is skipped."""


def check_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises DataError unless the value of an option is one of `choices`.

    Args:
      option: its name.
      value: as given by the user.
      choices: allowed values.
    """
    if value not in choices:
        raise DataError(f"{option} is {value!r}: use one of {', '.join(choices)}.")
