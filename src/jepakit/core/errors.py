"""Failures that are told in one sentence, without a traceback."""


class RunFailed(RuntimeError):
    """A run cannot go on, through nobody's mistyping; the message says what to do."""
