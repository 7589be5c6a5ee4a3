"""Held-out items stay out of every estimator, and the check of it catches those that cheat."""

import array
import functools
import itertools
import time

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from test_common import ESTIMATORS, TINY

from sklearn_dr4sr import DatasetPersonalizer, DatasetRegenerator, PatternMiner, SequenceDataset
from sklearn_dr4sr.baselines import MarkovChain, Popularity
from sklearn_dr4sr.datasets import make_sequences
from sklearn_dr4sr.leakage import check_no_leakage
from sklearn_dr4sr.metrics import ranking_scorer
from sklearn_dr4sr.model_selection import LeaveLastOut, leave_one_out
from sklearn_dr4sr.recommenders import SASRec, SequentialRecommender
from sklearn_dr4sr.sequences import as_items


@pytest.fixture(scope="module")
def split():
    return leave_one_out(make_sequences(60, 15, random_state=0))


def plain(estimator):
    """The estimator with a size and steps that make it do all that it does."""
    if isinstance(estimator, DatasetPersonalizer):
        return estimator.set_params(inner_steps=1)
    return estimator


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_no_estimator_of_the_package_leaks(estimator, split):
    check_no_leakage(plain(clone(estimator)), split)


def make_pipe():
    return make_pipeline(
        PatternMiner(),
        DatasetRegenerator(**TINY, diversity_factor=2, item_embedding="random"),
        DatasetPersonalizer(SASRec(**TINY), warmup_epochs=0, inner_steps=1),
        SASRec(**{**TINY, "max_epochs": 3}),
    )


def test_pipeline(split):
    check_no_leakage(make_pipe(), split)


def test_search(split):
    search = GridSearchCV(
        make_pipe(),
        {"sasrec__loss": ["bce", "ce"]},
        cv=LeaveLastOut(),
        scoring=ranking_scorer("recall@5", "ndcg@5"),
        refit="ndcg@5",
    )
    check_no_leakage(search, split)


def test_text_ids_and_rows_without_held_out_items():
    rows = [[f"item {i}" for i in row] for row in make_sequences(20, 9, random_state=0)]
    check_no_leakage(MarkovChain(), leave_one_out([*rows, ["item 1"], ["item 2", "item 3"]]))


def test_stopping_early_is_training_for_fewer_epochs(split):
    """The model kept with y is the one of as many epochs without y: y did nothing else."""
    model = SASRec(embedding_dim=8, hidden_dim=8, max_epochs=6, random_state=0, device="cpu")
    stopped = clone(model).fit(split.train, split.validation)
    shorter = clone(model).set_params(max_epochs=stopped.best_epoch_).fit(split.train)
    np.testing.assert_array_equal(stopped.item_embeddings_, shorter.item_embeddings_)


class CatalogueOfY(Popularity):
    def fit(self, X, y=None):
        super().fit(X)
        self.items_ = np.unique([*self.items_, *(item for item in y if item is not None)])
        return self

    def _scores(self, histories):
        return torch.zeros(len(histories), len(self.items_))


class TrainsOnY(MarkovChain):
    """Without a trace of ids that training lacks: only permuting y tells."""

    def fit(self, X, y=None):
        known = set(X.items.tolist())
        tails = [[item] if item in known else [] for item in y]
        return super().fit([row + tail for row, tail in zip(X, tails, strict=True)])


class RoomForY(Popularity):
    """A graph with a row for each item of y, but no ids."""

    def fit(self, X, y=None):
        super().fit(X)
        self.graph_ = sparse.coo_array(np.eye(len({*self.items_.tolist(), *as_items(y, len(X))})))
        return self


class LearnsFromQueries(Popularity):
    def predict(self, X, k=10):
        self.seen_ = {"histories": [tuple(row) for row in X]}
        return super().predict(X, k)


class NotesTheTest(Popularity):
    def score(self, X, y):
        self.log_ = f"scored on {list(y)}"
        return super().score(X, y)


class Slots:
    __slots__ = ("inside",)


HIDEOUTS = ("closure", "partial", "method", "slots", "default")
HIDEOUTS += ("buffer", "key", "sparse", "text", "data set")
HIDEOUTS += ("Series", "index", "DataFrame", "polars", "polars frame", "arrow", "arrow table")
HIDEOUTS += ("array", "memoryview", "bytearray", "values", "range", "complex", "masked", "fields")
HIDEOUTS += ("texts",)


class Hides(Popularity):
    """What is kept in closures, partials, methods, slots, tensors and frames is found, too."""

    def __init__(self, where="closure"):
        super().__init__()
        self.where = where

    def fit(self, X, y=None):
        super().fit(X)
        y = as_items(y, len(X))
        slots = Slots()
        slots.inside = {1: (y,)}
        given = np.array([item or 0 for item in y])
        numbers = torch.tensor(given)
        module = torch.nn.Module()
        module.register_buffer("numbers", numbers.to(torch.float32))
        self.kept_ = {
            "closure": lambda: y,
            "partial": functools.partial(print, y),
            "method": y.tolist().append,
            "slots": [slots],
            "default": lambda given=y: given,
            "buffer": module,
            "key": dict.fromkeys(y),
            "sparse": sparse.coo_array((numbers, (numbers * 0, numbers * 0)), shape=(1, 1)),
            "text": str(y.tolist()).encode(),
            "data set": SequenceDataset(X, [[item] if item else [] for item in y]),
            "Series": pd.Series(given),
            "index": pd.Series(0, index=given),
            "DataFrame": pd.DataFrame({"name": "x", "y": given}),
            "polars": pl.Series(given),
            "polars frame": pl.DataFrame({"name": "x", "y": given}),
            "arrow": pa.array(given),
            "arrow table": pa.table({"y": given}),
            "array": array.array("q", given),
            "memoryview": memoryview(given),
            "bytearray": bytearray(str(y.tolist()).encode()),
            "values": dict(enumerate(y)).values(),
            "range": range(given.max() + 1),
            "complex": [complex(item) for item in given],
            "masked": np.ma.masked_array(given, mask=True),
            "fields": given.view([("y", given.dtype)]),
            "texts": given.astype(str),
        }[self.where]
        return self


class WeighsByY(TransformerMixin, BaseEstimator):
    """Patterns and catalogue are those of X; only the weights know y."""

    def fit(self, X, y=None):
        self.next_ = as_items(y, len(X)).tolist()
        return self

    def transform(self, X):
        items = set(self.next_)
        weights = [1.0 + (item in items and item == self.next_[0]) for row in X for item in row]
        return SequenceDataset(X, weights=weights)


@pytest.mark.parametrize(
    ("cheat", "message"),
    [
        (CatalogueOfY(), r"validation item leaked: .* in CatalogueOfY.items_\[\d+\]"),
        (TrainsOnY(), r"fitted with y permuted, TrainsOnY differs in TrainsOnY\.\w+"),
        (RoomForY(), r"y with unknown items, RoomForY differs in RoomForY.graph_"),
        (LearnsFromQueries(), r"LearnsFromQueries after predict.seen_\['histories'\]"),
        (NotesTheTest(), r"test item leaked: .* in NotesTheTest after predict.log_"),
        (make_pipeline(WeighsByY(), Popularity()), r"validation item.*steps.*\.next_\[\d+\]"),
        *[(Hides(where), r"validation item leaked: .* in Hides.kept_") for where in HIDEOUTS],
    ],
    ids=repr,
)
def test_cheats_are_caught(cheat, message, split):
    with pytest.raises(AssertionError, match=message):
        check_no_leakage(cheat, split)


class BlursY(WeighsByY):
    """Keeps no id at all, but weighs the last items by how large the held-out one is."""

    def fit(self, X, y=None):
        self.scale_ = itertools.repeat(float(sum(int(i) % 7 for i in y if i is not None)))
        return self

    def transform(self, X):
        return SequenceDataset(X, weights=np.full(len(X.codes), next(self.scale_)))


def test_weights_that_y_moves_are_caught(split):
    """The number itself cannot be: an iterator would be used up."""
    with pytest.raises(AssertionError, match=r"BlursY.transform\(train\).weights"):
        check_no_leakage(BlursY(), split)


class Notes(Popularity):
    """Keeps what is made of y, by a function, beside how long it took."""

    def __init__(self, note):
        super().__init__()
        self.note = note

    def fit(self, X, y=None):
        start = time.perf_counter()
        super().fit(X)
        self.note_ = self.note([item for item in y if item is not None])
        self.took_ = time.perf_counter() - start
        return self


@pytest.mark.parametrize(
    "note",
    [
        lambda y: [float(item % 7) for item in y],
        lambda y: "".join("ab"[item % 2] for item in y),
        lambda y: bytearray(item % 7 for item in y),
        lambda y: pd.Series([item % 7 for item in y]),
        lambda y: range(y[0] % 7),
    ],
    ids=["numbers", "text", "bytes", "Series", "range"],
)
def test_numbers_and_texts_that_y_moves_are_caught(note, split):
    with pytest.raises(AssertionError, match=r"Notes differs in Notes\.note_"):
        check_no_leakage(Notes(note), split)
    check_no_leakage(Notes(len), split)


def test_attributes_of_the_class_are_searched(split):
    class Shares(Popularity):
        seen: list = []

        def fit(self, X, y=None):
            self.seen.append(y)
            return super().fit(X)

    with pytest.raises(AssertionError, match=r"validation item leaked: .* in Shares\.Shares\.seen"):
        check_no_leakage(Shares(), split)


class Memorizes(torch.nn.Module):
    def __init__(self, n_items):
        super().__init__()
        self.item_embedding = torch.nn.Embedding(n_items + 1, 4)

    def encode(self, ids, lengths):
        return self.item_embedding(ids)


def test_a_module_of_ones_own(split):
    check_no_leakage(
        SequentialRecommender(Memorizes, max_epochs=1, device="cpu", random_state=0), split
    )


def test_what_cannot_be_told_is_an_error(split):
    class Restless(Popularity):
        def fit(self, X, y=None):
            super().fit(X)
            self.popularity_ = np.random.default_rng().random(len(self.items_))
            return self

    with pytest.raises(ValueError, match=r"two fits of Restless .* differ in Restless.popularity_"):
        check_no_leakage(Restless(), split)
    with pytest.raises(ValueError, match="no row has a validation item"):
        check_no_leakage(Popularity(), leave_one_out([[1, 2], [2, 1]]))


def test_a_split_that_leaks_by_itself(split):
    with pytest.raises(AssertionError, match="row 0: the history must hold the training items"):
        check_no_leakage(Popularity(), split._replace(train=split.history))
    rows = leave_one_out([[1, 2, 3, 4], [2, 1, 1, 1]])
    wide = rows._replace(train=rows.history.drop_last())
    with pytest.raises(AssertionError, match="items that none of its rows holds, such as 3"):
        check_no_leakage(Popularity(), wide)


def test_nothing_is_fitted_or_changed(split):
    before = [list(split.train), list(split.validation), list(split.history), list(split.test)]
    model = MarkovChain()
    check_no_leakage(model, split)
    assert not hasattr(model, "items_")
    assert before == [list(part) for part in split]


def test_the_callers_way_of_settling_is_taken(split):
    """A choice by y that nothing turns off is told from no leak by saying what turns it off."""

    class Chooses(Popularity):
        def __init__(self, choose=True):
            super().__init__()
            self.choose = choose

        def fit(self, X, y=None):
            super().fit(X)
            if self.choose:
                self.popularity_ *= sum(int(item) for item in y[:3])
            return self

    with pytest.raises(AssertionError, match="y changes more than when training stops"):
        check_no_leakage(Chooses(), split)
    check_no_leakage(Chooses(), split, without_selection={"choose": False})
