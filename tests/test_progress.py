"""Progress: lines with the time left, and scikit-learn's callbacks down to every epoch."""

import pickle
from collections import Counter

import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from sklearn_dr4sr import DatasetPersonalizer, DatasetRegenerator, PatternMiner, _progress
from sklearn_dr4sr._progress import Timer, tracked
from sklearn_dr4sr.datasets import make_sequences
from sklearn_dr4sr.model_selection import LeaveLastOut, leave_one_out
from sklearn_dr4sr.recommenders import SASRec

SPLIT = leave_one_out(make_sequences(60, 20, random_state=0))
SMALL = {"embedding_dim": 8, "hidden_dim": 8, "n_layers": 1, "device": "cpu", "random_state": 0}


def sasrec(**parameters):
    return SASRec(**{**SMALL, "loss": "ce", "max_epochs": 3, "batch_size": 32, **parameters})


def pipeline():
    return Pipeline(
        [
            ("mine", PatternMiner(window_size=3)),
            (
                "regenerate",
                DatasetRegenerator(2, **SMALL, item_embedding="random", max_epochs=2),
            ),
            (
                "personalize",
                DatasetPersonalizer(sasrec(), warmup_epochs=1, inner_steps=1, random_state=0),
            ),
            ("recommend", sasrec()),
        ]
    )


class Recorder:
    """Of scikit-learn's protocol: counts the tasks of each estimator that ended."""

    max_propagation_depth = None
    ended = Counter()  # of the class: it survives clones, and each test empties it
    paths = []
    stop_after = None

    def setup(self, estimator, context):
        self.ended.clear()
        self.paths.clear()

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        path = [context]
        while path[0].parent is not None:
            path.insert(0, path[0].parent)
        self.paths.append([step.estimator_name for step in path])

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        self.ended[context.estimator_name, context.task_name] += 1
        if context.task_name == "fit" and context.estimator_name == "SASRec":
            assert fitted_estimator.predict([[1]], k=1).shape == (1, 1)
        done = self.ended[context.estimator_name, context.task_name]
        return context.task_name == "epoch" and done == self.stop_after


def test_tasks_nest_in_a_pipeline():
    pytest.importorskip("sklearn.callback")
    recorder = Recorder()
    pipe = pipeline().set_callbacks(recorder)
    pipe.fit(SPLIT.train, SPLIT.validation)
    ended = Recorder.ended
    assert ended["DatasetRegenerator", "epoch"] == 2
    assert ended["SASRec", "epoch"] == 6  # within the personalizer, and as the last step
    for name in ("PatternMiner", "DatasetRegenerator", "DatasetPersonalizer"):
        assert ended[name, "fit"] == 1
    assert ended["SASRec", "fit"] == 2
    deepest = ["Pipeline", "DatasetPersonalizer", "SASRec", "SASRec"]
    assert Recorder.paths.count(deepest) == 3
    assert Recorder.paths.count(["Pipeline", "SASRec", "SASRec"]) == 3
    model = pickle.loads(pickle.dumps(pipe["recommend"]))
    assert not [name for name in vars(model) if "callback_" in name]


def test_tasks_nest_in_a_search():
    pytest.importorskip("sklearn.callback")
    search = GridSearchCV(sasrec(), {"lr": [1e-3, 1e-2]}, cv=LeaveLastOut())
    search.set_callbacks(Recorder()).fit(SPLIT.train, SPLIT.validation)
    assert Recorder.ended["SASRec", "epoch"] == 9  # two candidates and the refit
    assert {path[0] for path in Recorder.paths} == {"GridSearchCV"}


def test_an_epoch_with_which_the_training_stops_early_is_a_task_that_ends():
    pytest.importorskip("sklearn.callback")
    model = sasrec(max_epochs=9, patience=1).set_callbacks(Recorder())
    model.fit(SPLIT.train, [row[0] for row in SPLIT.train])  # no rank among what was seen: no gain
    assert len(model.history_) == Recorder.ended["SASRec", "epoch"] < 9


@pytest.mark.parametrize("held_out", [False, True])
def test_a_callback_may_stop_the_training(held_out, monkeypatch):
    pytest.importorskip("sklearn.callback")
    monkeypatch.setattr(Recorder, "stop_after", 2)
    model = sasrec(max_epochs=5).set_callbacks(Recorder())
    model.fit(SPLIT.train, SPLIT.validation if held_out else None)  # without a warning
    assert len(model.history_) == 2
    if held_out:  # what is kept is the epoch that the history says was best
        claimed = model.history_[model.best_epoch_ - 1]["valid_ndcg"]
        assert model.score(SPLIT.train, SPLIT.validation) == pytest.approx(claimed, abs=1e-4)
    regenerator = clone(pipeline()["regenerate"]).set_params(max_epochs=4)
    regenerator.set_callbacks(Recorder()).fit(SPLIT.train)
    assert len(regenerator.history_) == 2


def test_the_progress_bar_of_scikit_learn(capsys):
    pytest.importorskip("rich")
    bar = pytest.importorskip("sklearn.callback").ProgressBar
    pipe = pipeline().set_callbacks(bar(max_propagation_depth=None))
    pipe.fit(SPLIT.train, SPLIT.validation)
    shown = capsys.readouterr().out
    for name in ("Pipeline - fit", "DatasetRegenerator - pre-training", "SASRec - fit"):
        assert name in shown


def test_without_callbacks_fit_is_as_it_was():
    class Old:  # as under scikit-learn before 1.9
        @tracked
        def fit(self, X, y=None):
            """Learn."""
            self.given = X, y
            return self

    assert Old().fit(1, y=2).given == (1, 2)
    assert Old.fit.__doc__ == "Learn."
    plain, watched = sasrec(), sasrec()
    if hasattr(watched, "set_callbacks"):
        watched.set_callbacks(Recorder())
    rows = SPLIT.history[:5]
    expected = plain.fit(SPLIT.train).decision_function(rows)
    assert (watched.fit(SPLIT.train).decision_function(rows) == expected).all()


def test_timer(monkeypatch, capsys):
    clock = iter([0.0, 1.0, 6.0, 7.0, 12.0, 20.0])
    monkeypatch.setattr(_progress, "perf_counter", lambda: next(clock))
    timer = Timer("[step]", 40, verbose=1)
    for done in (2, 10, 12, 16, 40):
        timer(done)
    # at 6 s a quarter is done, at 12 s two fifths: 18 s are left, and again 18
    lines = ["[step]: 25%, 0.3 minutes left", "[step]: 40%, 0.3 minutes left"]
    assert capsys.readouterr().out.splitlines() == lines


def test_verbose_shows_every_long_step(monkeypatch, capsys):
    monkeypatch.setattr(_progress, "EVERY", 0.0)
    monkeypatch.setattr("sklearn_dr4sr._growth.CHUNK_SIZE", 50)
    monkeypatch.setattr(
        "sklearn_dr4sr.regeneration.decoding.CHUNK_TOKENS", {"cpu": 200, "cuda": 200}
    )
    monkeypatch.setattr("sklearn_dr4sr.personalization.personalizer.ENCODE_TOKENS", 20)
    pipe = pipeline().set_params(
        mine__verbose=1,
        regenerate__verbose=1,
        regenerate__item_embedding="sasrec",
        personalize__recommender__verbose=1,
        recommend__verbose=1,
    )
    pipe.fit(SPLIT.train, SPLIT.validation)
    shown = capsys.readouterr().out
    assert shown.count("min_left") == 4  # tables of the embedding and of three steps
    for line in (
        "[PatternMiner] length 2: ",
        "[PatternMiner] rows: ",
        "[DatasetRegenerator] decoding: ",
        "[DatasetPersonalizer] weights: ",
    ):
        assert line in shown
    quiet = pipeline().fit(SPLIT.train, SPLIT.validation)
    assert capsys.readouterr().out == ""
    assert quiet.predict(SPLIT.history).tolist() == quiet.predict(SPLIT.history).tolist()
