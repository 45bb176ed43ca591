"""The one exception that ends a run with a message instead of a traceback."""


class Failure(Exception):
    """Something that makes the figures worthless, or impossible."""
