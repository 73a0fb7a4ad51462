"""The one exception that means "the user can fix this in their data"."""


class DataError(ValueError):
    """A sentence for the user about their data: what, where (file and row), received, what to do."""
