"""Moves the code that runs use together, before workers are forked.

A worker shares the zygote's memory page by page, and calling a function writes to its code
object: Python counts references there. The code that a run calls is a twentieth of what is
loaded, and lies scattered among the rest, some three of it to a page; each such page becomes each
worker's own. So what a rehearsal called is copied, one after the other into fresh memory, and
the functions are given the copies. See docs/decisions/0011-what-workers-share.md.
"""

import ctypes
import gc
import operator
import sys
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from types import CodeType, FunctionType
from typing import Any

# The codes that were replaced. To free them would leave holes all over the heap, which workers
# would fill: each with a page of its own.
_replaced: list[CodeType] = []


def codes_called(do: Callable[[], None]) -> set[int]:
    """Return the ids of the code objects of all Python functions that `do` calls, in threads
    that it starts, too. They mean something in this process and in those it is a copy of.
    """
    called: set[int] = set()

    def note(frame: Any, event: str, _: object) -> None:
        if event == "call":
            called.add(id(frame.f_code))

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        do()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return called


def pack(called: Collection[int]) -> int:
    """Move the code of these ids; return how many functions got a copy."""
    copies: dict[int, CodeType] = {}
    moved = 0
    for function in [thing for thing in gc.get_objects() if type(thing) is FunctionType]:
        code = _packed(function.__code__, called, copies)
        if code is not function.__code__:
            function.__code__ = code
            moved += 1
    with suppress(AttributeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)
    return moved


def _packed(code: CodeType, called: Collection[int], copies: dict[int, CodeType]) -> CodeType:
    """Return the copy of a code, or itself if neither it nor what it defines was called."""
    if (known := copies.get(id(code))) is not None:
        return known
    consts = [
        _packed(const, called, copies) if isinstance(const, CodeType) else const
        for const in code.co_consts
    ]
    if id(code) not in called and all(map(operator.is_, consts, code.co_consts)):
        return code
    _replaced.append(code)
    copies[id(code)] = code.replace(co_consts=tuple(consts))
    return copies[id(code)]
