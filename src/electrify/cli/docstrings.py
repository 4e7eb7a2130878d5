"""What `--help` says of options stands in the source of their classes; this keeps it from being read again and again.

cyclopts reads the sources of a class and of all its bases for each option that holds it, three times over. pydantic's
own long base class alone made up half of the time of `electrify pretrain --help`.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager

import docstring_parser


@contextmanager
def read_once() -> Iterator[None]:
    """Let every source be parsed at most once in this context."""
    parse = docstring_parser.parse_from_object
    docstring_parser.parse_from_object = functools.cache(parse)
    try:
        yield
    finally:
        docstring_parser.parse_from_object = parse
