"""A public call leaves no trace: global state, inputs and other estimators are as they were."""

import _thread
import hashlib
import os
import pickle
import random
import subprocess
import sys
import threading
import time
import warnings
from contextlib import contextmanager

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from sklearn.base import clone
from test_common import ESTIMATORS, TINY

import sklearn_dr4sr as package
from sklearn_dr4sr import SequenceDataset, Sequences, _torch
from sklearn_dr4sr.baselines import InfiniteAutoencoder, MarkovChain
from sklearn_dr4sr.datasets import load_sequences, make_sequences, sequences_from_interactions
from sklearn_dr4sr.leakage import check_no_leakage
from sklearn_dr4sr.metrics import ndcg_at_k, ranking_scorer, recall_at_k
from sklearn_dr4sr.model_selection import LeaveLastOut, global_time_split, leave_one_out
from sklearn_dr4sr.ranking import BaseRecommender
from sklearn_dr4sr.recommenders import SASRec

ROWS = make_sequences(30, 12, random_state=0)
SPLIT = leave_one_out(ROWS)
RECOMMENDERS = [e for e in ESTIMATORS if isinstance(e, BaseRecommender)]


def named(estimator):
    return type(estimator).__name__


def keeps_denormals():
    """There is no getter: a denormal number survives a multiplication, or it does not."""
    return bool(torch.tensor([1e-310], dtype=torch.float64) * 1.0 > 0)


def global_state():
    state = {
        "numpy's generator": pickle.dumps(np.random.get_state()),  # noqa: NPY002
        "random's generator": random.getstate(),
        "torch's generator": torch.get_rng_state().numpy().tobytes(),
        "torch's threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "default dtype": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "grad mode": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "anomaly mode": torch.is_anomaly_enabled(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "matmul precision": torch.get_float32_matmul_precision(),
        "cudnn": (torch.backends.cudnn.enabled, torch.backends.cudnn.benchmark),
        "attention kernels": (
            torch.backends.cuda.flash_sdp_enabled(),
            torch.backends.cuda.math_sdp_enabled(),
            torch.backends.cuda.mem_efficient_sdp_enabled(),
        ),
        "denormals": keeps_denormals(),
        "warnings filters": list(warnings.filters),
        "environment": dict(os.environ),
        "numpy's error handling": np.geterr(),
        "numpy's printing": np.get_printoptions(),
        "scikit-learn's configuration": sklearn.get_config(),
        "working directory": os.getcwd(),
        "recursion limit": sys.getrecursionlimit(),
        "threads": {t.name for t in threading.enumerate() if t.name == "sklearn_dr4sr"},
    }
    return {name: repr(value) for name, value in state.items()}


@contextmanager
def nothing_global_changes():
    before = global_state()
    yield
    after = global_state()
    assert {name for name in before if before[name] != after[name]} == set()


def digest(value):
    """A hash of everything that an input holds."""
    return hashlib.sha256(pickle.dumps(value)).hexdigest()


PADDED = ROWS.padded(fill=-1) + 1
Y = [row[-1] if n % 3 else None for n, row in enumerate(ROWS)]
OBJECTS = np.empty(len(ROWS), dtype=object)
OBJECTS[:] = [np.array(row) for row in ROWS]
FORMS = {
    "lists": list(ROWS),
    "tuples": tuple(map(tuple, ROWS)),
    "object array": OBJECTS,
    "matrix": PADDED,
    "frame": pd.DataFrame(PADDED),
    "Sequences": ROWS,
    "data set": SequenceDataset(ROWS, weights=np.ones(len(ROWS.codes))),
}


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=named)
@pytest.mark.parametrize("form", ["lists", "matrix", "data set"])
@pytest.mark.filterwarnings("ignore:.*makes its patterns of the histories alone:UserWarning")
@pytest.mark.filterwarnings("ignore:.*drops the weights of X:UserWarning")
def test_estimators_leave_no_trace(estimator, form):
    X, y = FORMS[form], list(Y)
    given = digest((X, y))
    estimator = clone(estimator)
    parameters = estimator.get_params()
    with nothing_global_changes():
        estimator.fit(X, y)
        for method in ("predict", "decision_function", "recommend", "transform"):
            if hasattr(estimator, method):
                made = getattr(estimator, method)(X)
                if method == "transform":
                    made.weights  # noqa: B018  (makes the patterns)
        if hasattr(estimator, "score"):
            estimator.score(X, y)
        pickle.loads(pickle.dumps(estimator))
        with pytest.raises((TypeError, ValueError)):
            clone(estimator).fit([[1, 2], None], y)
    assert digest((X, y)) == given
    after = estimator.get_params()
    assert after.keys() == parameters.keys()
    assert all(after[name] is parameters[name] for name in parameters)


@pytest.mark.parametrize("form", FORMS)
def test_no_form_of_input_is_modified(form):
    X = FORMS[form]
    given = digest(X)
    MarkovChain().fit(X).predict(X)
    for estimator in ESTIMATORS:
        if named(estimator) in ("PatternMiner", "RandomSubsequences"):
            _ = clone(estimator).fit_transform(X).patterns
    leave_one_out(X)
    assert digest(X) == given


def test_functions_leave_no_trace(tmp_path):
    path = tmp_path / "rows.txt"
    path.write_text("ann 1 2 3\nbob 2 3\n")
    times = [list(range(len(row))) for row in ROWS]
    frame = pd.DataFrame({"user": [1, 1, 2, 2], "item": [1, 2, 1, 2], "time": [4, 3, 2, 1]})
    ranking = [[1, 2], [2, 3]]
    data = SequenceDataset(ROWS, origin="original")
    given = digest((times, frame, ranking, data))
    model = SASRec(**TINY).fit(ROWS)
    with nothing_global_changes():
        load_sequences(path)
        make_sequences(10, 6, random_state=0)
        sequences_from_interactions(frame, min_count=1)
        global_time_split(ROWS, times)
        list(LeaveLastOut().split(ROWS, Y))
        recall_at_k([1, 3], ranking, k=2)
        ndcg_at_k([1, 3], ranking, k=2)
        ranking_scorer("recall@2", "ndcg@2")(model, ROWS, Y)
        check_no_leakage(MarkovChain(), SPLIT)
        Sequences(list(ROWS)).describe()
        SequenceDataset.from_frame(ROWS, data.to_frame())
        SequenceDataset.concatenate([data, data]).deduplicate()
        data.to_text(tmp_path / "out.txt")
        data.to_parquet(tmp_path / "out.parquet")
        SequenceDataset.from_parquet(tmp_path / "out.parquet")
        data.to_recbole(tmp_path / "out")
        data.explain(0)
        data._repr_html_()
        model.similar_items([1])
        model.query_embeddings(ROWS)
        model.save(tmp_path / "model")
        SASRec.load(tmp_path / "model")
        package.show_versions()
    assert digest((times, frame, ranking, data)) == given


FIRST_FIT = """
import sys
sys.path.insert(0, {folder!r})
from test_isolation import make, nothing_global_changes, ROWS

with nothing_global_changes():
    make(0).fit(ROWS).predict(ROWS)
"""


def test_the_first_fit_of_a_process_leaves_no_trace(tmp_path):
    """At a process's first optimizer torch sets an environment variable and a warnings filter."""
    script = tmp_path / "script.py"
    script.write_text(FIRST_FIT.format(folder=os.path.dirname(__file__)))
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_a_fit_that_diverges_leaves_no_trace():
    with nothing_global_changes(), pytest.raises(FloatingPointError):
        SASRec(**{**TINY, "max_epochs": 50}, lr=1e30, random_state=0).fit(ROWS)


def test_the_callers_modes_do_not_matter():
    """Inside no_grad, or with the global generators elsewhere, the result is the same."""
    plain = fitted_digest(0)
    with torch.no_grad():
        assert fitted_digest(0) == plain
    with torch.inference_mode():
        assert fitted_digest(0) == plain
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        assert fitted_digest(0) == plain


def make(seed):
    return SASRec(
        embedding_dim=8, hidden_dim=8, max_epochs=4, batch_size=8, random_state=seed, device="cpu"
    )


def fitted_digest(seed):
    return hashlib.sha256(make(seed).fit(ROWS).item_embeddings_.tobytes()).hexdigest()


def test_fits_in_two_threads_are_as_alone():
    """torch's generator is one for all threads, so without care they would draw each other's."""
    alone = [fitted_digest(seed) for seed in (0, 1)]
    for _ in range(3):
        together, start = {}, threading.Barrier(2)

        def work(seed, together=together, start=start):
            start.wait()
            together[seed] = fitted_digest(seed)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in (0, 1)]
        with nothing_global_changes():
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert [together[0], together[1]] == alone


def test_a_callback_may_fit_another_estimator():
    """A fit inside of a fit does not wait for the other to end, and disturbs it as little."""
    from skorch.callbacks import Callback

    class FitsAnother(Callback):
        def on_epoch_end(self, net, **kwargs):
            assert fitted_digest(7) == seventh

    seventh, plain = fitted_digest(7), make(0).fit(ROWS)
    nested = make(0).set_params(callbacks=[FitsAnother()]).fit(ROWS)
    np.testing.assert_array_equal(nested.item_embeddings_, plain.item_embeddings_)


SCRIPT = """
import multiprocessing, sys
sys.path.insert(0, {folder!r})
from test_isolation import fitted_digest

if __name__ == "__main__":
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            print(method, pool.apply(fitted_digest, (3,)))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform cannot fork")
def test_same_seed_same_result_in_forked_and_spawned_processes(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(folder=os.path.dirname(__file__)))
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    here = fitted_digest(3)
    assert ran.stdout.split() == ["fork", here, "spawn", here], ran.stderr


FORK_DURING_A_FIT = """
import multiprocessing, os, sys, threading
sys.path.insert(0, {folder!r})
from skorch.callbacks import Callback
from test_isolation import ROWS, fitted_digest, make

training = threading.Event()

class Waits(Callback):
    def on_batch_end(self, net, **kwargs):
        training.set()
        threading.Event().wait()

fit = make(0).set_params(callbacks=[Waits]).fit
threading.Thread(target=fit, args=(ROWS,), daemon=True).start()
training.wait()
child = multiprocessing.get_context("fork").Process(
    target=lambda: print(fitted_digest(3), flush=True)
)
child.start()
child.join(60)
print("ended" if child.exitcode == 0 else "hangs", flush=True)
child.kill()
os._exit(0)  # the thread trains still
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform cannot fork")
def test_a_process_forked_while_a_thread_fits_can_fit(tmp_path):
    """It inherits the lock of that thread, but not the thread that would give it back."""
    script = tmp_path / "script.py"
    script.write_text(FORK_DURING_A_FIT.format(folder=os.path.dirname(__file__)))
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == [fitted_digest(3), "ended"], ran.stderr


def test_same_seed_same_result_in_joblib_threads():
    """test_pipeline has the like for its processes."""
    run = joblib.Parallel(n_jobs=2, backend="threading")
    made = run(joblib.delayed(fitted_digest)(seed) for seed in (0, 1, 0))
    assert made == [fitted_digest(seed) for seed in (0, 1, 0)]


def test_n_jobs_of_the_autoencoder_changes_nothing():
    models = [
        InfiniteAutoencoder(l2=1.0, solver="cg", random_state=0, n_jobs=n).fit(ROWS)
        for n in (None, 1, 2)
    ]
    for model in models[1:]:
        np.testing.assert_array_equal(model.alpha_, models[0].alpha_)


@pytest.mark.parametrize("estimator", RECOMMENDERS, ids=named)
def test_equal_scores_rank_in_the_order_of_the_catalogue(estimator, monkeypatch):
    """The documented rule; so a model that has collapsed finds what chance would find."""
    model = clone(estimator).fit(SPLIT.train)
    monkeypatch.setattr(
        type(model), "_scores", lambda self, rows: torch.zeros(len(rows), len(self.items_))
    )
    k = 4
    expected = []
    for row in SPLIT.history:
        left = [item for item in model.items_.tolist() if item not in row][:k]
        expected.append(left + [-1] * (k - len(left)))
    ranking = model.predict(SPLIT.history, k=k)
    assert ranking.tolist() == expected
    recall = np.mean([item in row for item, row in zip(SPLIT.test, expected, strict=True)])
    assert recall_at_k(SPLIT.test, ranking, k=k) == recall < 0.75


@pytest.mark.parametrize(
    "estimator", [e for e in RECOMMENDERS if hasattr(e, "module") or hasattr(e, "lr")], ids=named
)
def test_a_collapsed_network_is_not_taken_for_a_perfect_one(estimator):
    """All embeddings equal: neither the validation of the training nor the metrics are fooled."""
    from skorch.callbacks import Callback

    class Collapse(Callback):
        def on_batch_end(self, net, training=False, **kwargs):
            with torch.no_grad():
                net.module_.item_embedding.weight.fill_(0.01)

    model = clone(estimator).set_params(callbacks=[Collapse()], random_state=0)
    model.fit(SPLIT.train, SPLIT.validation)
    # ties count against the held-out item: it ranks last of those that are left to rank
    assert all(epoch["valid_ndcg"] < 1 for epoch in model.history_)
    items = len(model.items_)
    worst = np.mean(
        [
            1 / np.log2(items - len(set(row)) + 1) if item not in row else 0
            for row, item in zip(SPLIT.train, SPLIT.validation, strict=True)
        ]
    )
    assert model.history_[-1]["valid_ndcg"] <= worst + 1e-6
    assert recall_at_k(SPLIT.test, model.predict(SPLIT.history, k=1), k=1) < 0.5


def test_a_random_state_object_is_drawn_from_once_a_fit():
    """As in scikit-learn: the object moves on, and two fits with equal objects are equal."""
    one, other, drawn = (np.random.RandomState(0) for _ in range(3))
    a = make(one).fit(ROWS)
    b = make(other).fit(ROWS)
    np.testing.assert_array_equal(a.item_embeddings_, b.item_embeddings_)
    drawn.randint(2**31 - 1)
    assert one.randint(2**31) == other.randint(2**31) == drawn.randint(2**31)


# --- interrupts -----------------------------------------------------------------------------------


def interrupted_call(function, monkeypatch):
    monkeypatch.setattr(_torch, "SEND_AGAIN", 0.3)
    timer = threading.Timer(0.3, _thread.interrupt_main)
    timer.start()
    try:
        return _torch.isolated(function, seed=0, device=torch.device("cpu"))
    finally:
        timer.join()


def wait_for_interrupt(seconds):
    """Whether one came; in short waits, since it arrives between two steps of the interpreter."""
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            time.sleep(0.01)
    except KeyboardInterrupt:
        return True
    return False


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_that_was_lost_is_sent_again(monkeypatch):
    assert interrupted_call(lambda: [wait_for_interrupt(30) for _ in range(3)], monkeypatch) == [
        True,
        True,
        True,
    ]


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("nested", [False, True])
def test_an_interrupt_that_arrived_comes_once(nested, monkeypatch):
    def work():
        first = wait_for_interrupt(30)
        _torch.interrupt_arrived()
        return first, wait_for_interrupt(1.2)

    def around():
        return _torch.isolated(work, seed=0, device=torch.device("cpu"))

    assert interrupted_call(around if nested else work, monkeypatch) == (True, False)
