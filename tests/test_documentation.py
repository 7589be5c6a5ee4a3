"""The documentation: all that is public is in the reference, with examples; its code runs."""

import doctest
import importlib
import inspect
import re
from pathlib import Path

import joblib
import pytest
from sklearn.base import BaseEstimator
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_html_repr

import sklearn_dr4sr
from sklearn_dr4sr import PatternMiner, SequenceDataset, _doc_links
from sklearn_dr4sr._doc_links import page_of
from sklearn_dr4sr.datasets import load_sequences, make_sequences
from sklearn_dr4sr.recommenders import SASRec

ROOT = Path(__file__).parents[1]
MODULES = (
    "augmentation", "baselines", "datasets", "leakage", "metrics", "model_selection", "plotting",
    "recommenders",
)  # fmt: skip
#: Public, too, of modules whose other names are not.
MORE = ("sequences.as_sequences", "patterns.PatternTable")
#: What the example of needs a connection, or files of the user's.
FROM_ELSEWHERE = ("fetch_amazon", "fetch_movielens", "fetch_gowalla", "fetch_s3rec", "load_yelp")


def public():
    """Every public object by the name that the reference gives it."""
    names = [*sklearn_dr4sr.__all__, *MORE]
    for module in MODULES:
        names += [f"{module}.{name}" for name in _module(module).__all__]
    return {name: getattr(_module(name.rpartition(".")[0]), name.split(".")[-1]) for name in names}


def _module(name):
    return importlib.import_module(f"sklearn_dr4sr.{name}" if name else "sklearn_dr4sr")


def functions():
    """Every public function and method of ours by name, each once."""
    found = {}
    for name, thing in public().items():
        found[name] = thing
        if not inspect.isclass(thing):
            continue
        for method, value in inspect.getmembers(thing):
            ours = (getattr(value, "__module__", None) or "").startswith("sklearn_dr4sr")
            if inspect.isroutine(value) and ours and not method.startswith("_"):
                found.setdefault(value.__qualname__, value)
    return found


def test_the_reference_lists_what_is_public():
    pattern = r"^   ((?:\w+\.)?\w+)$"
    listed = re.findall(pattern, (ROOT / "docs" / "api.rst").read_text(encoding="utf-8"), re.M)
    assert sorted(listed) == sorted(public())


@pytest.mark.parametrize("name", functions())
def test_every_public_docstring_has_an_example_that_runs(name):
    examples = doctest.DocTestParser().get_examples(inspect.getdoc(functions()[name]) or "")
    assert examples
    if name.split(".")[-1] not in FROM_ELSEWHERE:
        assert not any(example.options.get(doctest.SKIP) for example in examples)


def test_estimators_link_to_their_pages(monkeypatch):
    monkeypatch.setenv("DR4SR_DOCS", "https://docs.example/1/")
    html = estimator_html_repr(make_pipeline(PatternMiner(), SASRec()))
    for name in ("PatternMiner", "recommenders.SASRec"):
        assert f'href="https://docs.example/1/generated/sklearn_dr4sr.{name}.html"' in html


def test_pages_are_those_of_the_reference(monkeypatch):
    monkeypatch.setenv("DR4SR_DOCS", "..")
    for name, thing in public().items():
        if inspect.isclass(thing) and issubclass(thing, BaseEstimator):
            assert page_of(thing) == f"../generated/sklearn_dr4sr.{name}.html"


def test_links_without_an_address(monkeypatch, tmp_path):
    """To the pages that were built here; to none where there are none, nor from other classes."""
    monkeypatch.delenv("DR4SR_DOCS", raising=False)
    monkeypatch.setattr(_doc_links, "BUILD", tmp_path)
    assert 'href="file' not in estimator_html_repr(SASRec())
    page = tmp_path / "generated" / "sklearn_dr4sr.recommenders.SASRec.html"
    page.parent.mkdir()
    page.touch()
    assert f'href="{page.as_uri()}"' in estimator_html_repr(SASRec())

    class Mine(SASRec):
        pass

    assert 'href="file' not in estimator_html_repr(Mine())


def test_first_lines_of_the_readme(capsys):
    """A new user's first code runs, and ranks what its comment says."""
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    names = {}
    exec(code[1].replace("max_epochs=30", "max_epochs=2"), names)
    assert names["model"].predict([["tea", "pot"]], k=2).tolist() in (
        [["cup", "milk"]],
        [["milk", "cup"]],
    )


def test_the_whole_path_of_the_tour(tmp_path, monkeypatch):
    """It runs as it stands, but for sizes, and leaves the files that it names."""
    text = (ROOT / "docs" / "tour.rst").read_text(encoding="utf-8")
    code = inspect.cleandoc(
        "\n" + text[text.index("   import joblib") :].split("\n\nThe variants")[0]
    )
    small = 'item_embedding="random", embedding_dim=8, max_epochs=1'
    for a, b in {
        'SASRec(loss="ce")': 'SASRec(loss="ce", max_epochs=1, embedding_dim=8, random_state=0)',
        "diversity_factor=5": f"{small}, diversity_factor=2",
        "[0, 0.1, 0.3]": "[0, 0.3]",
    }.items():
        assert a in code
        code = code.replace(a, b)
    monkeypatch.chdir(tmp_path)
    SequenceDataset(make_sequences(60, 20, random_state=0)).to_text("Beauty.txt")
    exec(code, {})
    assert len(load_sequences("regenerated.txt")) > 60
    assert joblib.load("regenerator.joblib").transform([[1, 2]]).histories[0] == [1, 2]
