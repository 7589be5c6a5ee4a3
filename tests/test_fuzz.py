"""Every public entry, given anything, works or says in its own words what it was given where.

A few cases by default; ``DR4SR_FUZZ=10000 pytest tests/test_fuzz.py`` for so many in all, in equal
shares (parameters: ten shares), ``--hypothesis-seed`` for the same ones again and
``--hypothesis-show-statistics`` for how many of each test ran.
"""

import array
import collections
import contextlib
import datetime
import decimal
import fractions
import io
import os
import re
import tempfile
import traceback
import types
import warnings
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_dtypes, array_shapes, arrays, scalar_dtypes
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from test_common import ESTIMATORS, TINY

import sklearn_dr4sr
from sklearn_dr4sr import PatternMiner, SequenceDataset, Sequences, metrics, plotting
from sklearn_dr4sr.augmentation import RandomSubsequences
from sklearn_dr4sr.baselines import MarkovChain, SequentialRules
from sklearn_dr4sr.datasets import (
    fetch_amazon,
    fetch_movielens,
    fetch_s3rec,
    load_sequences,
    load_yelp,
    make_sequences,
    sequences_from_interactions,
)
from sklearn_dr4sr.leakage import check_no_leakage
from sklearn_dr4sr.metrics import ranking_scorer
from sklearn_dr4sr.model_selection import LeaveLastOut, global_time_split, leave_one_out
from sklearn_dr4sr.recommenders import SASRec, to_onnx

#: Shares of the cases: one a test, but ten of the parameters and two of the made sequences.
SHARES = 60
mpl.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")
CASES = -(-int(os.environ.get("DR4SR_FUZZ", "600")) // SHARES)
fuzzed = settings(
    max_examples=CASES,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
if "DR4SR_FUZZ" in os.environ:
    fuzzed = settings(fuzzed, derandomize=False)

HOME = str(Path(sklearn_dr4sr.__file__).parent)
#: Whose words count as ours: scikit-learn says "not fitted" and checks names of members.
SPOKESMEN = (HOME, os.path.join("sklearn", "utils", "validation.py"), "metaestimators.py")


#: Words of numpy, torch, pandas and Python, which tell nothing of a row or a parameter.
FOREIGN = re.compile(
    r"inhomogeneous|setting an array element|broadcast|unhashable|ufunc|expected scalar type"
    r"|is not (iterable|callable|subscriptable)|has no (len\(\)|attribute)|unsupported operand"
    r"|not supported between|ambiguous|could not convert|invalid literal|cannot be interpreted"
    r"|must be real number|out of bounds|[Cc]an't convert|[Cc]annot (interpret|convert|cast)"
    r"|object of type|only integer scalar|not aligned|mismatch|Overflow|too large to convert"
    r"|takes \d+ positional|unexpected keyword|unpack|not implemented for"
)


def works_or_says_why(call, *names):
    """Call; what is raised must be raised by the package, and name a row or a parameter.

    ``names`` are regular expressions of whole words.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return call()
    except (ValueError, TypeError, NotFittedError, FloatingPointError) as error:
        problem = error
    if isinstance(problem, FloatingPointError):
        names = (r"epoch \d+", r"step \d+")
    place = traceback.extract_tb(problem.__traceback__)[-1]
    # what C code raises has no frame of its own: the last line is then the one that called it
    ours = any(part in place.filename for part in SPOKESMEN) and place.line.startswith("raise")
    assert ours, (place, repr(problem))
    text = str(problem)
    assert re.search(rf"(?<!\w)(?:{'|'.join(names)})(?!\w)", text), repr(problem)
    assert not FOREIGN.search(text), repr(problem)
    return problem


def test_the_words_of_others_are_not_taken_for_ours():
    bad = [[1, 2], None]
    assert isinstance(works_or_says_why(lambda: Sequences(bad), r"row \d+"), TypeError)
    with pytest.raises(AssertionError, match="row 1"):  # "a 1-D array" holds the letter y
        works_or_says_why(lambda: Sequences(bad), "y")
    with pytest.raises(AssertionError, match="reshape"):
        works_or_says_why(lambda: np.zeros(2).reshape(3), "size")
    with pytest.raises(AssertionError, match="invalid literal"):  # raised in a line of ours
        works_or_says_why(lambda: Sequences.from_codes(["x"], [0, 1], Y), "int")


#: What an id, a row, a parameter may turn out to be.
ODD = [
    *(None, True, False, -1, 0, 1, 2, 3, 0.5, 1.5, -0.5, 1e-300, 1e300),
    *(float("nan"), float("inf"), -float("inf"), 10**9, 2**31, 2**63 - 1, 2**63, 10**30, -(10**30)),
    *("", "x", "auto", "a\0b", "\ud800", "né", "🫖", "1", "nan", b"x", bytearray(b"x"), 3j),
    *([], (), {}, set(), [1, 2], ["x"], ("original", "x"), {"a": 1}, frozenset({1}), [[1]], [None]),
    *(np.array(2), np.array([1, 2]), np.array([[1.0]]), np.array("x"), np.array([], dtype=object)),
    *(np.float64(0.5), np.float32("nan"), np.int64(2), np.uint64(2**64 - 1), np.bool_(True)),
    *(np.str_("x"), np.datetime64("NaT"), np.timedelta64(1), np.ma.masked, pd.NA, pd.NaT),
    *(
        decimal.Decimal(2),
        fractions.Fraction(1, 2),
        datetime.date(2024, 1, 1),
        object(),
        print,
        int,
    ),
    *(Ellipsis, NotImplemented, slice(1), range(3), memoryview(b"ab"), array.array("i", [1, 2])),
    *(collections.deque([1, 2]), pd.Series([1, 2]), pd.Series(["a", None]), pd.Index([1]), io),
    *(pd.Timestamp(0), pl.Series([1, 2]), types.SimpleNamespace(), collections.UserList([1])),
]
odd = st.sampled_from(range(len(ODD))).map(ODD.__getitem__)
good_id = st.one_of(st.integers(0, 9), st.text(max_size=3))
good_rows = st.one_of(
    st.lists(st.lists(st.integers(0, 9), max_size=6), min_size=1, max_size=5),
    st.lists(st.lists(st.text(max_size=2), max_size=6), min_size=1, max_size=5),
)
any_id = st.one_of(good_id, odd, st.integers(), st.floats(), st.binary(max_size=2))
row = st.one_of(
    st.lists(any_id, max_size=5),
    st.lists(st.integers(0, 9), max_size=5).map(tuple),
    arrays(st.one_of(scalar_dtypes(), array_dtypes(max_size=2)), array_shapes(min_dims=0)),
    odd,
)


def is_hashable(value):
    try:
        hash(value)
    except TypeError:
        return False
    return True


def packed(rows):
    """The same rows in other containers, some of them no sequences at all."""

    def objects():
        out = np.empty(len(rows), dtype=object)
        for number, entry in enumerate(rows):
            out[number] = entry
        return out

    def locked():
        out = objects()
        out.setflags(write=False)
        return out

    return st.sampled_from(
        [
            lambda: rows,
            lambda: tuple(rows),
            objects,
            locked,
            lambda: iter(rows),
            lambda: (entry for entry in rows),
            lambda: dict(enumerate(rows)),
            lambda: collections.deque(rows),
            lambda: pd.Series(objects()),
            lambda: objects().reshape(-1, 1),
            lambda: pd.DataFrame({"row": objects()}),
        ]
    ).map(lambda make: make())


@st.composite
def matrices(draw):
    """Padded matrices of any type, also memory-mapped and read-only ones."""
    dtype = draw(st.one_of(st.sampled_from([np.int64, np.int8, np.float64]), scalar_dtypes()))
    matrix = draw(arrays(dtype, array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)))
    kind = draw(st.sampled_from(["plain", "locked", "mapped", "masked", "frame", "sparse", "view"]))
    if kind == "locked":
        matrix.setflags(write=False)
    elif kind == "mapped" and matrix.size and not matrix.dtype.hasobject:
        with tempfile.TemporaryFile() as file:
            mapped = np.memmap(file, dtype=matrix.dtype, shape=matrix.shape)
            mapped[...] = matrix
            return mapped
    elif kind == "masked":
        return np.ma.masked_array(matrix, mask=np.zeros(matrix.shape, dtype=bool))
    elif kind == "frame" and matrix.ndim == 2:
        return pd.DataFrame(matrix)
    elif kind == "sparse" and matrix.ndim == 2 and matrix.dtype.kind in "iuf":
        return sparse.csr_array(matrix.astype(float))
    elif kind == "view" and matrix.ndim:
        return matrix[::-1]
    return matrix


anything = st.one_of(
    st.lists(row, max_size=5).flatmap(packed), good_rows.flatmap(packed), matrices(), odd
)
#: How an error may speak of data.
DATA = (r"row \d+", "X", "item sequences", "item ids", "2-D array")

ROWS = make_sequences(12, 8, random_state=0)
Y = [entry[0] for entry in ROWS]
FITTED = MarkovChain().fit(ROWS)
NEURAL = SASRec(**TINY, random_state=0).fit(ROWS)
MINER = PatternMiner().fit(ROWS)

DATA_ENTRIES = {
    "Sequences": Sequences,
    "SequenceDataset": SequenceDataset,
    "leave_one_out": leave_one_out,
    "fit a baseline": lambda X: SequentialRules().fit(X),
    "fit a network": lambda X: SASRec(**TINY).fit(X),
    "fit a miner": lambda X: PatternMiner().fit_transform(X).patterns,
    "fit an operator": lambda X: RandomSubsequences(random_state=0).fit_transform(X).patterns,
    "predict": FITTED.predict,
    "predict with a network": NEURAL.predict,
    "decision_function": FITTED.decision_function,
    "recommend": FITTED.recommend,
    "query_embeddings": NEURAL.query_embeddings,
    "transform": lambda X: MINER.transform(X).patterns,
    "predict unfitted": MarkovChain().predict,
}


@pytest.mark.parametrize("entry", DATA_ENTRIES)
@fuzzed
@given(X=anything)
def test_data(entry, X):
    works_or_says_why(lambda: DATA_ENTRIES[entry](X), *DATA, "is not fitted")


@fuzzed
@given(which=st.integers(0, len(ESTIMATORS) - 1), X=anything, y=st.one_of(st.none(), anything))
def test_fits(which, X, y):
    """Any estimator, given any data: what failed to fit has learned nothing."""
    model = clone(ESTIMATORS[which])
    before = set(vars(model))
    made = works_or_says_why(lambda: model.fit(X, y), "y", *DATA)
    if isinstance(made, Exception):
        assert set(vars(model)) == before


@fuzzed
@given(rows=good_rows, y=st.one_of(st.lists(any_id, max_size=5), odd, matrices()))
def test_held_out_items(rows, y):
    works_or_says_why(lambda: MarkovChain().fit(rows, y), "y", *DATA)
    works_or_says_why(lambda: list(LeaveLastOut().split(rows, y)), "y", *DATA)
    works_or_says_why(lambda: FITTED.score(ROWS[:5], y), "y", *DATA)
    works_or_says_why(lambda: ranking_scorer("recall@3")(FITTED, ROWS[:5], y), "y", *DATA)


@fuzzed
@given(
    y_true=st.one_of(st.lists(any_id, max_size=4), odd),
    y_pred=st.one_of(matrices(), st.lists(row, max_size=4), odd),
    k=st.one_of(st.integers(-1, 5), odd),
)
def test_metrics(y_true, y_pred, k):
    for name in ("recall", "ndcg", "mrr", "map", "hit_rate"):
        metric = getattr(metrics, f"{name}_at_k")
        made = works_or_says_why(
            lambda m=metric: m(y_true, y_pred, k), "y_true", "y_pred", "k must"
        )
        assert isinstance(made, Exception) or 0 <= made <= 1


ranking = st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), min_size=1, max_size=4)


@fuzzed
@given(
    y_pred=st.one_of(ranking, matrices(), st.lists(row, max_size=4), odd),
    k=st.one_of(st.integers(1, 3), odd),
    about=st.one_of(
        good_rows, st.dictionaries(any_id.filter(is_hashable), any_id, max_size=4), anything
    ),
    value=odd,
)
def test_other_metrics(y_pred, k, about, value):
    names = ("y_pred", "k must", "catalogue", "train", "count of item", "embeddings", *DATA)
    for name in ("coverage", "gini", "novelty", "average_popularity"):
        metric = getattr(metrics, f"{name}_at_k")
        works_or_says_why(lambda m=metric: m(y_pred, k, about), *names)
    works_or_says_why(lambda: metrics.intra_list_diversity_at_k(y_pred, k, about, value), *names)
    works_or_says_why(
        lambda: metrics.head_tail_recall_at_k([1], y_pred, k, about), "y_true", *names
    )
    works_or_says_why(
        lambda: metrics.head_tail_recall_at_k([1], [[1]], 1, [[1]], head_share=value),
        "head_share",
    )
    works_or_says_why(lambda: metrics.ranks([1], y_pred, k), "y_true", "y_pred", "k must")


numbers = st.one_of(odd, matrices(), st.lists(st.one_of(st.floats(), odd), max_size=4))


@fuzzed
@given(
    truth=st.one_of(st.lists(st.integers(0, 9), min_size=2, max_size=4), st.lists(any_id), odd),
    one=st.one_of(ranking, matrices(), odd),
    two=st.one_of(ranking, odd),
    values=numbers,
    option=st.sampled_from(["metrics", "n_resamples", "confidence", "random_state"]),
    value=odd,
)
def test_comparisons(truth, one, two, values, option, value):
    names = ("y_true", "y_pred", "k must", "metrics?", option)
    if not (option == "n_resamples" and isinstance(value, (int, np.integer)) and value > 10**6):
        given = {"metrics": "ndcg@2", "n_resamples": 9, option: value}
        works_or_says_why(lambda: metrics.compare_rankings(truth, one, two, **given), *names)
    works_or_says_why(
        lambda: metrics.compare_to_baseline(truth, one, value, "mrr@1"), *names, "rankings"
    )
    works_or_says_why(lambda: metrics.sign_flip_test(values, n_resamples=9), "difference")
    works_or_says_why(lambda: metrics.holm(values), "p_values")
    works_or_says_why(lambda: metrics.gini(values), "counts")
    works_or_says_why(lambda: ranking_scorer(value), "metric")


@fuzzed
@given(data=st.data())
def test_recommend(data):
    options = {
        name: data.draw(st.one_of(st.none(), st.lists(any_id, max_size=4), odd), label=name)
        for name in data.draw(
            st.sets(st.sampled_from(["user_ids", "exclude", "only", "exclude_seen", "k"]))
        )
    }
    names = ("user_ids", "exclude", "only", "k must", "exclude_seen", r"row \d+")
    works_or_says_why(lambda: FITTED.recommend(ROWS, **options), *names)
    works_or_says_why(
        lambda: NEURAL.similar_items(options.get("only"), options.get("k", 3)), "items", "k must"
    )


@fuzzed
@given(
    patterns=st.one_of(anything, good_rows),
    weights=st.one_of(st.none(), odd, matrices(), st.lists(row, max_size=4)),
    source=st.one_of(st.none(), odd, st.lists(st.integers(-2, 13), max_size=5)),
    origin=st.one_of(st.sampled_from(["mined", "original"]), odd),
)
def test_data_sets(patterns, weights, source, origin):
    names = (*DATA, "patterns?", "weights", "source", "origin")
    works_or_says_why(
        lambda: SequenceDataset(ROWS, patterns, weights, source=source, origin=origin).patterns,
        *names,
    )


@fuzzed
@given(rows=good_rows, times=st.one_of(anything, st.lists(st.lists(st.integers(), max_size=6))))
def test_times(rows, times):
    works_or_says_why(lambda: global_time_split(rows, times), "times", *DATA)
    flat = list(range(sum(map(len, rows))))
    works_or_says_why(
        lambda: global_time_split(rows, flat, validation_from=times), "validation_from", *DATA
    )


column = st.one_of(
    st.lists(st.integers(-1, 3), min_size=4, max_size=4),
    st.lists(any_id, min_size=4, max_size=4),
    st.lists(st.sampled_from(["a", "b", None, pd.NA, 1.5]), min_size=4, max_size=4),
)


@fuzzed
@given(
    user=column,
    item=column,
    time=column,
    library=st.sampled_from([pd.DataFrame, lambda c: pl.DataFrame(c, strict=False), dict]),
    min_count=st.one_of(st.integers(1, 2), odd),
    name=st.one_of(st.just("user"), odd),
)
def test_interactions(user, item, time, library, min_count, name):
    try:
        frame = library({"user": user, "item": item, "time": time})
    except Exception:  # the library's own business
        return
    works_or_says_why(
        lambda: sequences_from_interactions(frame, name, min_count=min_count),
        *(r"row \d+", "frame", "column", "min_count", "user"),
    )


@fuzzed
@given(content=st.one_of(st.binary(max_size=60), st.text("ab 12\n\t\r\0\ud800é", max_size=60)))
def test_text_files(content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.txt")
        if isinstance(content, str):
            content = content.encode("utf-8", "surrogatepass")
        path.write_bytes(content)
        made = works_or_says_why(lambda: load_sequences(path), re.escape("rows.txt"))
        if isinstance(made, Exception) and "no sequence" not in str(made):
            assert "line" in str(made) or "UTF-8" in str(made)


def lines_of(text):
    return st.lists(st.lists(text, max_size=4), max_size=4).map(
        lambda rows: "\n".join("\t".join(row) for row in rows)
    )


cell = st.one_of(st.sampled_from(["1", "2", "a", "2024-01-01", "nan", "inf", "", '"']), st.text())


@fuzzed
@given(
    content=st.one_of(st.binary(max_size=40), lines_of(cell), st.text(max_size=40)),
    suffix=st.sampled_from([".tsv", ".csv", ".inter", ".parquet", ".tsv.gz", ".TSV"]),
    head=st.sampled_from(
        ["user\titem\ttime\n", "user_id:token\titem_id:token\ttimestamp:float\n", ""]
    ),
)
def test_tables(content, suffix, head):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "table" + suffix)
        if isinstance(content, str):
            content = (head + content).encode("utf-8", "surrogatepass")
        path.write_bytes(content)
        works_or_says_why(lambda: load_sequences(path), re.escape("table" + suffix))


@fuzzed
@given(
    value=odd, option=st.sampled_from(["user", "item", "time", "min_count", "duplicates", "names"])
)
def test_options_of_tables(value, option):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "table.csv")
        path.write_text("user,item,time\n1,2,3\n1,3,4\n")
        works_or_says_why(
            lambda: load_sequences(path, **{option: value}), option, "column", r"line \d+"
        )


def of_a_path(call):
    """Give a path that may not exist: the system's own error is as good."""

    def with_path(value):
        try:
            return works_or_says_why(lambda: call(value), "path", re.escape(repr(value)))
        except OSError:
            return None

    return with_path


def asks_for(name, call):
    def with_value(value):
        with contextlib.suppress(IndexError):  # a row that is not there, as of a list
            works_or_says_why(lambda: call(value), name, *DATA)

    return with_value


DATA_SET = MINER.transform(ROWS)
SPLIT = leave_one_out(ROWS)
#: Entries that take one odd thing.
SINGLE = {
    "explain": asks_for("row", DATA_SET.explain),
    "to_onnx": asks_for("to_onnx", to_onnx),
    "fetch_amazon": asks_for("category", fetch_amazon),
    "fetch_movielens": asks_for("name", fetch_movielens),
    "fetch_s3rec": asks_for("name", fetch_s3rec),
    "check_no_leakage": asks_for("split", lambda value: check_no_leakage(MarkovChain(), value)),
    "load_yelp": of_a_path(load_yelp),
    "load": of_a_path(SASRec.load),
    "from_frame": asks_for("frame", lambda value: SequenceDataset.from_frame(ROWS, value)),
    "concatenate": asks_for("shards?", SequenceDataset.concatenate),
    "from_parquet": of_a_path(SequenceDataset.from_parquet),
    "load_sequences": of_a_path(load_sequences),
    "last": asks_for("n must", Sequences(ROWS).last),
    "drop_last": asks_for("n must", Sequences(ROWS).drop_last),
    "padded": asks_for("width", Sequences(ROWS).padded),
    "PatternLengthDisplay": asks_for("dataset", plotting.PatternLengthDisplay.from_dataset),
    "PatternSupportDisplay": asks_for("estimator", plotting.PatternSupportDisplay.from_estimator),
    "PatternWeightsDisplay": asks_for("dataset", plotting.PatternWeightsDisplay.from_dataset),
    "PopularityDisplay": asks_for("dataset", plotting.PopularityDisplay.from_dataset),
    "HistoryDisplay": asks_for("row", lambda v: plotting.HistoryDisplay.from_dataset(DATA_SET, v)),
    "LearningCurveDisplay": asks_for("estimator", plotting.LearningCurveDisplay.from_estimator),
    "ParameterCurveDisplay": asks_for(
        "search", lambda v: plotting.ParameterCurveDisplay.from_search(v, "x")
    ),
    "HitRateDisplay": asks_for(
        "estimator", lambda v: plotting.HitRateDisplay.from_estimator(v, ROWS, Y)
    ),
}


@pytest.mark.parametrize("entry", SINGLE)
@fuzzed
@given(value=st.one_of(odd, anything))
def test_single(entry, value):
    if not (entry in ("padded", "last") and isinstance(value, (int, np.integer)) and value > 10**6):
        SINGLE[entry](value)
    plt.close("all")


def other_files(folder):
    data, model = Path(folder, "data.parquet"), Path(folder, "model")
    SequenceDataset(ROWS).to_parquet(data)
    NEURAL.save(model)
    return [data, *sorted(path for path in model.rglob("*") if path.is_file())]


@fuzzed
@given(
    which=st.integers(0, 2),
    cut=st.floats(0, 1),
    change=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=3),
    insert=st.binary(max_size=3),
)
def test_damaged_files(which, cut, change, insert):
    """A file that was cut or changed is named, or was not hurt where it matters."""
    with tempfile.TemporaryDirectory() as folder:
        files = other_files(folder)
        path = files[which % len(files)]
        content = bytearray(path.read_bytes())
        for place, byte in change:
            content[int(place * (len(content) - 1))] = byte
        at = int(cut * len(content))
        path.write_bytes(bytes(content[:at]) + insert + (bytes(content[at:]) if change else b""))
        if path.suffix == ".parquet":
            works_or_says_why(
                lambda: SequenceDataset.from_parquet(path).patterns, re.escape(path.name)
            )
        else:
            works_or_says_why(lambda: SASRec.load(path.parent), re.escape(path.name))


#: What asks for nothing but patience.
PATIENCE = (
    "max_epochs",
    "steps_per_epoch",
    "n_layers",
    "graph_layers",
    "warmup_epochs",
    "patience",
)
PARAMETERS = [
    (estimator, name) for estimator in ESTIMATORS for name in estimator.get_params(deep=False)
]


@settings(fuzzed, max_examples=10 * CASES)
@given(which=st.sampled_from(range(len(PARAMETERS))), value=odd)
def test_parameters(which, value):
    """Also: what failed to fit has learned nothing."""
    estimator, name = PARAMETERS[which]
    if name in PATIENCE and isinstance(value, (int, np.integer)) and value > 3:
        return
    if name in ("memory", "checkpoint_dir") and isinstance(value, (str, os.PathLike)):
        return  # it may well be a path: not in the working directory
    parameters = {**estimator.get_params(deep=False), name: value}
    model = type(estimator)(**parameters)
    before = set(vars(model))
    made = works_or_says_why(lambda: model.fit(ROWS, Y), name)
    if isinstance(made, Exception):
        assert set(vars(model)) == before
        return
    if hasattr(model, "transform"):
        works_or_says_why(lambda: model.transform(ROWS).weights, name)
    if hasattr(model, "predict"):
        works_or_says_why(lambda: model.predict(ROWS), name, "a score is NaN")


@settings(fuzzed, max_examples=2 * CASES)
@given(data=st.data())
def test_made_sequences(data):
    names = ("n_sequences", "n_items", "mean_length", "min_length", "n_successors", "skip", "noise")
    names += ("popularity_exponent", "random_state")
    name = data.draw(st.sampled_from(names))
    value = data.draw(odd)
    if name in ("n_sequences", "n_items", "mean_length") and isinstance(value, (int, float)):
        return  # as many as there is room for
    given = {"n_sequences": 5, "n_items": 12, name: value}
    works_or_says_why(lambda: make_sequences(**given), name)


@fuzzed
@given(key=st.one_of(odd, st.lists(any_id, max_size=3), matrices(), st.slices(12)))
def test_indices(key):
    """Indices are numpy's: an odd one is an IndexError, as there."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ROWS[key]
    except (IndexError, TypeError, ValueError):
        pass
