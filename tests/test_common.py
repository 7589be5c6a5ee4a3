"""scikit-learn's own checks over every estimator of the package: a new one is one line here."""

import inspect

import pytest
import sklearn
from sklearn.base import clone
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks
from sklearn.utils.fixes import parse_version

from sklearn_dr4sr.augmentation import (
    CropMaskReorder,
    RandomSubsequences,
    RepeatPadding,
    SlidingWindow,
    TeacherContinuation,
)
from sklearn_dr4sr.baselines import (
    EASE,
    MELT,
    InfiniteAutoencoder,
    MarkovChain,
    Popularity,
    SequentialRules,
    UserKNN,
)
from sklearn_dr4sr.dataset import SequenceDataset
from sklearn_dr4sr.mining import PatternMiner
from sklearn_dr4sr.personalization import DatasetPersonalizer
from sklearn_dr4sr.recommenders import (
    FMLP,
    GNN,
    BSARec,
    CL4SRec,
    GRU4Rec,
    RankBlend,
    RankStack,
    SASRec,
)
from sklearn_dr4sr.regeneration import DatasetRegenerator

TINY = {"embedding_dim": 4, "hidden_dim": 4, "n_layers": 1, "max_epochs": 1, "device": "cpu"}

ESTIMATORS = [
    Popularity(),
    MarkovChain(),
    SequentialRules(),
    EASE(l2=1.0),
    UserKNN(),
    InfiniteAutoencoder(),
    SASRec(**TINY),
    GRU4Rec(**TINY),
    FMLP(**TINY, max_length=6),
    GNN(**TINY),
    CL4SRec(**TINY),
    BSARec(**TINY),
    RankBlend([("model", SASRec(**TINY, random_state=0)), ("rules", SequentialRules())]),
    RankStack([("chain", MarkovChain()), ("rules", SequentialRules())], random_state=0),
    MELT(SASRec(**TINY, n_heads=1), max_epochs=1),
    PatternMiner(),
    SlidingWindow(),
    RepeatPadding(),
    CropMaskReorder(),
    RandomSubsequences(),
    TeacherContinuation(SequentialRules()),
    DatasetRegenerator(**TINY, diversity_factor=2, item_embedding="random"),
    DatasetPersonalizer(
        SASRec(**TINY),
        warmup_epochs=0,
        inner_steps=1,
        validation="resampled",  # the checks have rows of two items, which leave none to hold back
    ),
]

NO_WIDTH = (
    "sequences have no fixed width: the history to predict from is longer than the training "
    "sequence that it continues, also where both are zero-padded matrices"
)
RAGGED_OUTPUT = (
    "the check stacks what transform returns for single rows into one array, and rows have as many "
    "patterns as they have"
)

#: Checks that fail with every estimator, and why that is right.
EXPECTED_FAILURES = {"check_n_features_in_after_fitting": NO_WIDTH}
#: Checks that are at fault themselves.
FAULTY_CHECKS = {}
if parse_version(sklearn.__version__) < parse_version("1.8"):
    FAULTY_CHECKS["check_positive_only_tag_during_fit"] = (
        "the check itself fails on integers: it subtracts their mean from them in place"
    )

DRAWN_BY_ROW = "each row has draws of its own: equal rows get unequal patterns"

ONCE = "X' holds equal patterns once, at the first row that has them"

TRANSFORMER = {
    "check_transformer_general": NO_WIDTH,
    "check_methods_subset_invariance": RAGGED_OUTPUT,
}

#: Further ones, by class; at most four an estimator in all.
EXPECTED_FAILURES_BY_CLASS = {
    "DatasetPersonalizer": TRANSFORMER,
    "DatasetRegenerator": TRANSFORMER | {"check_methods_sample_order_invariance": ONCE},
    "InfiniteAutoencoder": TRANSFORMER | {"check_methods_sample_order_invariance": DRAWN_BY_ROW},
    "PatternMiner": TRANSFORMER,
    "SlidingWindow": TRANSFORMER,
    "RepeatPadding": TRANSFORMER | {"check_methods_sample_order_invariance": DRAWN_BY_ROW},
    "CropMaskReorder": TRANSFORMER | {"check_methods_sample_order_invariance": DRAWN_BY_ROW},
    "RandomSubsequences": TRANSFORMER | {"check_methods_sample_order_invariance": DRAWN_BY_ROW},
    "TeacherContinuation": TRANSFORMER | {"check_methods_sample_order_invariance": DRAWN_BY_ROW},
}


def expected_failures(estimator):
    ours = EXPECTED_FAILURES | EXPECTED_FAILURES_BY_CLASS.get(type(estimator).__name__, {})
    return ours | FAULTY_CHECKS


# older versions of scikit-learn lack the argument
STRICT = (
    {"xfail_strict": True}
    if "xfail_strict" in inspect.signature(parametrize_with_checks).parameters
    else {}
)


# the few and short rows of some checks leave a stack nothing to learn from
@pytest.mark.filterwarnings(r"ignore:of \d+ rows to learn from none:UserWarning")
@parametrize_with_checks(ESTIMATORS, expected_failed_checks=expected_failures, **STRICT)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def unread():
    raise AssertionError("patterns were made before y was checked")


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([1, 2], "y has 2 entries, X has 3 rows"),
        (5, "y: expected one item id a row, got int"),
        ("abc", "y: expected one item id a row, got str"),
        (["a", "b", "c"], "y, row 0: expected an int, as the other item ids are, got 'a'"),
    ],
)
def test_y_is_checked_before_the_work_begins(estimator, y, message):
    X = SequenceDataset([[1, 2, 3], [1, 2, 3], [2, 3, 1]], unread)
    model = clone(estimator)
    with pytest.raises((ValueError, TypeError), match=message):
        model.fit(X, y)
    assert not hasattr(model, "items_")


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_most_checks_run(estimator):
    """With the wrong tags scikit-learn generates next to no checks, and looks green."""
    names = [
        getattr(check, "func", check).__name__ for _, check in estimator_checks_generator(estimator)
    ]
    assert len(names) >= 38
    expected = expected_failures(estimator)
    assert expected.keys() <= set(names)
    assert len(expected.keys() - FAULTY_CHECKS.keys()) <= 4
    assert all(len(reason) > 20 for reason in expected.values())
