"""Odd data, as the user guide's section of that name says: one test an outcome, for every model."""

import numpy as np
import pytest

from sklearn_dr4sr.recommenders import FMLP, GNN, BSARec, CL4SRec, GRU4Rec, SASRec

SMALL = {
    "embedding_dim": 8,
    "hidden_dim": 8,
    "max_length": 4,
    "max_epochs": 2,
    "device": "cpu",
    "random_state": 0,
}
MODELS = {
    "SASRec": SASRec,
    "GRU4Rec": GRU4Rec,
    "FMLP": FMLP,
    "FMLP-prefix": lambda **p: FMLP(mode="prefix", **p),
    "FMLP-causal": lambda **p: FMLP(mode="causal", **p),
    "GNN": GNN,
    "CL4SRec": CL4SRec,
    "CL4SRec-original": lambda **p: CL4SRec(augment="original", **p),
    "BSARec": BSARec,
}
ROWS = [["a", "b", "c"], ["b", "c", "d", "a"], ["d", "a"], ["c", "b", "e"]]


@pytest.fixture(params=MODELS)
def make(request):
    """Make the small model with further parameters."""
    return lambda **parameters: MODELS[request.param](**{**SMALL, **parameters})


def same_weights(one, other):
    np.testing.assert_array_equal(one.item_embeddings_, other.item_embeddings_)


def test_a_sequence_of_one_item_teaches_nothing_but_popularity(make):
    plain, more = make().fit(ROWS), make().fit([["e"], *ROWS, [], ["e"]])
    same_weights(plain, more)
    e = plain.items_.tolist().index("e")
    assert more.popularity_[e] > plain.popularity_[e]


def test_only_sequences_of_one_item_are_an_error(make):
    with pytest.raises(ValueError, match="no sequence of X holds two items"):
        make().fit([["a"], ["b"], []])


@pytest.mark.parametrize("loss", ["bce", "bpr", "ce", "sampled_softmax", "gbce"])
def test_a_catalogue_of_one_item(make, loss):
    rows = [["a", "a", "a"], ["a"]]
    model = make(loss=loss).fit(rows)
    assert np.isfinite(model.decision_function(rows)).all()
    assert model.predict(rows, k=3).tolist() == [[None], [None]]  # seen: nothing is left
    assert make(loss=loss, exclude_seen=False).fit(rows).predict([["a"]]).tolist() == [["a"]]


def test_of_a_long_history_the_last_items_count(make):
    long = [list("abcdeabcde"), list("edcbaedcb"), *ROWS]
    model = make().fit(long)
    scores, of_ends = (model.decision_function(rows) for rows in (long, [row[-4:] for row in long]))
    np.testing.assert_array_equal(scores, of_ends)
    same_weights(model, make().fit([row[-5:] for row in long]))  # an input and a last target


def test_items_never_seen_in_training_are_skipped(make):
    model = make().fit(ROWS)
    known = model.decision_function([["b", "a"], []])
    other = model.decision_function([["zz", "b", "xx", "a", "yy"], ["zz"]])
    np.testing.assert_array_equal(other, known)


def test_without_a_known_item_all_rank_by_popularity(make):
    model = make().fit(ROWS)
    scores = model.decision_function([[], ["zz"]])
    np.testing.assert_array_equal(scores, np.stack([model.popularity_] * 2))
    by_count = sorted("abcde", key=lambda item: (-sum(row.count(item) for row in ROWS), item))
    assert model.predict([[], ["zz"]], k=5).tolist() == [by_count] * 2


@pytest.mark.parametrize("augment", ["original", "regenerated"])
def test_views_of_inputs_of_one_item_make_no_contrast(augment):
    pairs = [["a", "b"], ["b", "c"], ["c", "a"], ["d"]]
    with_it, without = (
        CL4SRec(augment=augment, contrast_weight=weight, **SMALL).fit(pairs)
        for weight in (10.0, 0.0)
    )
    same_weights(with_it, without)
    assert with_it.history_[0]["train_loss"] == without.history_[0]["train_loss"]
