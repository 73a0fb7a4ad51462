"""The one exception that means "the user can fix this": shown as a sentence, without a traceback."""


class UserError(ValueError):
    """A mistake in flags, data or `model_dir`: says what, where, what was received, what to do."""
