"""The one exception that means "the user can fix this in their data"."""


class DataError(ValueError):
    """A sentence about the user's data: what, where (file, row), what was received, what to do."""
