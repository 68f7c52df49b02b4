"""What is called together is moved together, and nobody can tell the difference."""

import inspect
import threading
import traceback
from pathlib import Path

from worker.packing import codes_called, pack


def add(number, more=1, *, times=1):
    """Add."""
    return sum(number + more for _ in range(times))


def counter():
    count = 0

    def step():
        nonlocal count
        count += 1
        return count

    return step


def fails():
    raise LookupError("as it was")


def never_called():
    return 1


def numbers():
    yield 1
    yield 2


def frame_of(function):
    try:
        function()
    except LookupError as error:
        return traceback.extract_tb(error.__traceback__)[-1]
    return None


def packed(*functions):
    called = codes_called(lambda: [function() for function in functions])
    return pack(called)


def test_what_was_called_has_a_copy_of_its_code():
    before = add.__code__
    packed(lambda: add(1))
    assert add.__code__ is not before
    assert add.__code__ == before


def test_what_was_not_called_keeps_its_own():
    before = never_called.__code__
    packed(lambda: add(1))
    assert never_called.__code__ is before


def test_a_function_does_what_it_did():
    packed(lambda: add(1))
    assert add(2) == 3
    assert add(2, 3, times=2) == 10
    assert (add.__doc__, str(inspect.signature(add))) == ("Add.", "(number, more=1, *, times=1)")


def test_a_closure_keeps_what_it_holds():
    step = counter()
    packed(step)
    assert [step(), step()] == [2, 3]


def test_functions_made_later_have_the_copy_as_well():
    before = counter().__code__
    packed(counter())
    assert counter().__code__ is not before
    assert counter().__code__ is counter().__code__
    assert counter().__code__ in counter.__code__.co_consts


def test_functions_of_one_code_share_the_copy():
    first, second = counter(), counter()
    packed(first, second)
    assert first.__code__ is second.__code__


def test_a_generator_that_is_under_way_goes_on():
    under_way = numbers()
    assert next(under_way) == 1
    packed(lambda: list(numbers()))
    assert list(under_way) == [2]


def test_tracebacks_tell_the_same_place():
    before = frame_of(fails)
    packed(lambda: frame_of(fails))
    after = frame_of(fails)
    assert (after.filename, after.lineno, after.name) == (__file__, before.lineno, "fails")
    assert "as it was" in after.line


def test_what_threads_call_counts_too():
    def in_a_thread():
        thread = threading.Thread(target=never_called)
        thread.start()
        thread.join()

    assert id(never_called.__code__) in codes_called(in_a_thread)


def test_nothing_is_watched_afterwards():
    codes_called(lambda: add(1))
    assert threading.getprofile() is None


def test_the_source_is_found_as_before():
    packed(lambda: add(1))
    assert inspect.getsource(add) in Path(__file__).read_text("utf-8")
