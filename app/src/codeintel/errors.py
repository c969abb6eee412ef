"""The one error type whose message is written for the person or agent who caused it."""


class CodeintelError(Exception):
    """An expected failure; its message is one line that says what to do next."""
