"""Queries and item vectors: their inner products are the scores, neighbours are a brute sort."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from sklearn_dr4sr.baselines import MELT
from sklearn_dr4sr.datasets import make_sequences
from sklearn_dr4sr.recommenders import FMLP, GNN, BSARec, CL4SRec, GRU4Rec, SASRec, embeddings

TINY = {"embedding_dim": 8, "hidden_dim": 8, "n_layers": 1, "max_length": 12}
TINY |= {"loss": "ce", "lr": 0.01, "max_epochs": 2, "device": "cpu", "random_state": 0}
MODELS = [
    SASRec(**TINY),
    GRU4Rec(**TINY),
    FMLP(**TINY),
    GNN(**TINY),
    CL4SRec(**TINY),
    BSARec(**TINY),
    MELT(SASRec(**TINY), max_epochs=1, random_state=0),
]


@pytest.fixture(scope="module")
def sequences():
    return make_sequences(60, 30, random_state=0)


@pytest.fixture(scope="module")
def model(sequences):
    return SASRec(**TINY).fit(sequences)


@pytest.mark.parametrize("model", MODELS, ids=lambda m: type(m).__name__)
def test_scores_are_inner_products(model, sequences):
    model.fit(sequences)
    queries = model.query_embeddings(sequences)
    assert model.item_embeddings_.shape == (len(model.items_), 8)
    assert queries.shape == (60, 8)
    assert queries.dtype == model.item_embeddings_.dtype == np.float32
    scores = model.decision_function(sequences)
    np.testing.assert_allclose(queries @ model.item_embeddings_.T, scores, atol=1e-5)


def test_an_empty_history_has_no_vector(model):
    rows = [[], [10**6], model.items_[:3].tolist()]
    queries = model.query_embeddings(rows)
    assert not queries[:2].any()
    assert queries[2].any()
    for scores in model.decision_function(rows)[:2]:
        np.testing.assert_array_equal(scores, model.popularity_)


def test_similar_items_are_a_sort_by_cosine(model, monkeypatch):
    E = model.item_embeddings_.astype(float)
    cosine = E @ E.T / np.outer(*[np.linalg.norm(E, axis=1)] * 2)
    asked = model.items_[[7, 0, 12]]
    expected = []
    for code in (7, 0, 12):
        order = [c for c in np.argsort(-cosine[code]) if c != code][:4]
        expected += [(model.items_[code], model.items_[c], n + 1) for n, c in enumerate(order)]
    for chunk in (embeddings.CHUNK_SIZE, 2 * len(E)):
        monkeypatch.setattr(embeddings, "CHUNK_SIZE", chunk)
        table = model.similar_items(asked, k=4)
        got = table[["item", "similar", "rank"]].itertuples(index=False, name=None)
        assert list(got) == expected
        codes = [np.searchsorted(model.items_, table[c]) for c in ("item", "similar")]
        np.testing.assert_allclose(table["score"], cosine[tuple(codes)], atol=1e-6)


def test_neighbours_end_with_the_catalogue():
    model = SASRec(**TINY).fit([["a", "b", "c"], ["b", "c", "a"]])
    table = model.similar_items(["b"], k=10)
    assert sorted(table["similar"]) == ["a", "c"]
    assert table["rank"].tolist() == [1, 2]


def test_what_does_not_fit_is_named(model):
    known = int(model.items_[0])
    with pytest.raises(ValueError, match="items, position 1: 999 was not seen in fit"):
        model.similar_items([known, 999])
    with pytest.raises(TypeError, match="items: expected a list of item ids, got"):
        model.similar_items(known)
    with pytest.raises(ValueError, match="k must be an integer of at least 1, got 0"):
        model.similar_items([known], k=0)
    for unfitted in (SASRec().query_embeddings, SASRec().similar_items):
        with pytest.raises(NotFittedError):
            unfitted([[1]])
