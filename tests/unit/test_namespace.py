"""Each plugin has modules of its own, under the names its author gave them."""

import pickle
import sys

import pytest

from tests.support.plugins import write_plugin
from worker.crew.namespace import Namespace


@pytest.fixture
def namespaces(tmp_path):
    """Two plugins with files of the same names."""
    for name in ("one", "two"):
        write_plugin(
            tmp_path,
            name,
            """
            from crew.tools import NAME as ABSOLUTE
            from .tools import NAME as RELATIVE
            import extra

            class Thing:
                pass

            def late():
                from crew.later import NAME
                return NAME
            """,
        )
        (tmp_path / name / "crew" / "tools.py").write_text(f"NAME = {name!r}")
        (tmp_path / name / "crew" / "later.py").write_text(f"NAME = 'late {name}'")
        (tmp_path / name / "extra.py").write_text(f"NAME = {name!r}")
    return {name: Namespace(tmp_path / name) for name in ("one", "two")}


@pytest.fixture(autouse=True)
def _nothing_is_left():
    """Neither modules nor places to look for them."""
    modules, path = set(sys.modules), sys.path[:]
    yield
    assert sys.path == path
    left = {name for name in set(sys.modules) - modules if name.split(".")[0] in ("crew", "extra")}
    assert left == set()


def test_each_finds_its_own_in_every_way_of_importing(namespaces):
    for name in ("one", "two", "one"):
        with namespaces[name].entered():
            module = namespaces[name].load()
            found = (module.ABSOLUTE, module.RELATIVE, module.late(), module.extra.NAME)

        assert found == (name, name, f"late {name}", name)


def test_a_plugin_is_imported_once(namespaces):
    with namespaces["one"].entered():
        first = namespaces["one"].load()
    with namespaces["two"].entered():
        namespaces["two"].load()
    with namespaces["one"].entered():
        assert namespaces["one"].load() is first


def test_things_can_be_pickled_while_the_plugin_runs(namespaces):
    with namespaces["one"].entered():
        thing = namespaces["one"].load().Thing()
        assert type(pickle.loads(pickle.dumps(thing))) is type(thing)


def test_a_module_of_somebody_else_of_that_name_is_put_aside_and_comes_back(
    namespaces, monkeypatch
):
    foreign = type(sys)("crew")
    monkeypatch.setitem(sys.modules, "crew", foreign)

    with namespaces["one"].entered():
        assert namespaces["one"].load().ABSOLUTE == "one"

    assert sys.modules["crew"] is foreign


def test_an_import_that_fails_leaves_nothing_behind(tmp_path):
    write_plugin(tmp_path, "bad", "import crew.tools\nraise ValueError")
    (tmp_path / "bad" / "crew" / "tools.py").write_text("")
    namespace = Namespace(tmp_path / "bad")

    with pytest.raises(ValueError), namespace.entered():
        namespace.load()


def test_a_failed_import_is_tried_again(tmp_path):
    write_plugin(tmp_path, "late", "raise ValueError")
    namespace = Namespace(tmp_path / "late")
    with pytest.raises(ValueError), namespace.entered():
        namespace.load()
    write_plugin(tmp_path, "late", "NAME = 'a longer text than before, for the cache'")

    with namespace.entered():
        assert namespace.load().NAME


def test_what_a_plugin_imports_of_the_library_stays(tmp_path):
    write_plugin(tmp_path, "uses", "import wave")
    sys.modules.pop("wave", None)
    with Namespace(tmp_path / "uses").entered():
        __import__("crew.crew")

    assert "wave" in sys.modules


def test_a_plugin_whose_name_begins_like_another_is_not_taken_for_it(tmp_path):
    write_plugin(tmp_path, "news", "import sys")
    write_plugin(tmp_path, "news-digest", "NAME = 'digest'")
    for name in ("news", "news-digest"):
        namespace = Namespace(tmp_path / name)
        with namespace.entered():
            file = namespace.load().__file__
        assert file.startswith(f"{tmp_path}/{name}/")


def test_nothing_of_an_import_that_failed_is_kept(tmp_path):
    folder = write_plugin(tmp_path, "bad", "from . import helper; raise OSError") / "bad"
    (folder / "crew" / "helper.py").write_text("NAME = 1")
    namespace = Namespace(folder)
    with pytest.raises(OSError), namespace.entered():
        namespace.load()
    (folder / "crew" / "helper.py").write_text("NAME = 2")
    (folder / "crew" / "crew.py").write_text("from .helper import NAME")

    with namespace.entered():
        assert namespace.load().NAME == 2


def test_the_code_is_that_of_the_import_and_not_of_what_came_later(namespaces, tmp_path):
    with namespaces["one"].entered():
        namespaces["one"].load()
    before = namespaces["one"].code
    (tmp_path / "one" / "crew" / "tools.py").write_text("NAME = 'newer'")

    assert namespaces["one"].code == before
    assert Namespace(tmp_path / "one").code != before
    assert not list(tmp_path.rglob("*.pyc"))
