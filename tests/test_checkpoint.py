"""Checkpoints: what is killed goes on to the same result; what is no checkpoint is refused."""

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, LRScheduler

from sklearn_dr4sr import DatasetPersonalizer, DatasetRegenerator, PatternMiner, checkpoint
from sklearn_dr4sr.baselines import MELT, MarkovChain
from sklearn_dr4sr.datasets import make_sequences
from sklearn_dr4sr.model_selection import leave_one_out
from sklearn_dr4sr.recommenders import CL4SRec, GRU4Rec, RankBlend, RankStack, SASRec

TINY = {"embedding_dim": 4, "hidden_dim": 4, "max_epochs": 5, "batch_size": 32, "device": "cpu"}
SPLIT = leave_one_out(make_sequences(90, 25, random_state=0))
MINED = PatternMiner(window_size=3).fit_transform(SPLIT.train)


class Killed(Exception):  # noqa: N818  (it stands for the end of the process)
    pass


class Kill(Callback):
    """End the process, as far as the estimator can tell, when an epoch begins."""

    def __init__(self, after):
        self.after = after

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) > self.after:
            raise Killed


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def sasrec(**parameters):
    return SASRec(**(TINY | {"random_state": 0} | parameters))


def without_time(rows):
    return [{k: v for k, v in row.items() if k != "dur"} for row in rows]


def assert_same(a, b):
    assert without_time(a.history_) == without_time(b.history_)
    left, right = a.net_.module_.state_dict(), b.net_.module_.state_dict()
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


def regenerator(**parameters):
    given = {"diversity_factor": 2, "item_embedding": "random", "random_state": 0, "n_layers": 1}
    return DatasetRegenerator(**(TINY | given | parameters))


MAKERS = {
    "SASRec": lambda **p: sasrec(**p),
    "within a pass": lambda **p: sasrec(steps_per_epoch=2, loss="ce", **p),
    "averaged weights": lambda **p: sasrec(ema_decay=0.9, **p),
    "GRU4Rec": lambda **p: GRU4Rec(**{**TINY, "random_state": 0, **p}),
    "CL4SRec": lambda **p: CL4SRec(**{**TINY, "random_state": 0, **p}),
    "DatasetRegenerator": regenerator,
}


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("name", MAKERS)
def test_resumed_equals_uninterrupted(name, early_stopping, tmp_path):
    make = MAKERS[name]
    data = MINED if name == "DatasetRegenerator" else SPLIT.train
    y = SPLIT.validation if early_stopping else None
    whole = make().fit(data, y)
    begun = []
    for after in (1, 3):
        with pytest.raises(Killed):
            make(checkpoint_dir=tmp_path, callbacks=[Kill(after)]).fit(data, y)
        begun.append(os.listdir(tmp_path))
    resumed = make(checkpoint_dir=tmp_path).fit(data, y)
    assert_same(resumed, whole)
    assert begun[0] == begun[1] == [f"{type(whole).__name__}.checkpoint"]
    assert os.listdir(tmp_path) == []  # a finished fit leaves nothing


@pytest.mark.gpu
@pytest.mark.parametrize("name", MAKERS)
def test_resumed_equals_uninterrupted_on_cuda(name, tmp_path):
    """But for the order of sums, which a device does not keep."""
    make = MAKERS[name]
    data = MINED if name == "DatasetRegenerator" else SPLIT.train
    whole = make(device="cuda").fit(data)
    with pytest.raises(Killed):
        make(device="cuda", checkpoint_dir=tmp_path, callbacks=[Kill(3)]).fit(data)
    resumed = make(device="cuda", checkpoint_dir=tmp_path).fit(data)
    found, expected = ([e["train_loss"] for e in m.history_] for m in (resumed, whole))
    assert found == pytest.approx(expected, rel=1e-3)  # a resumed dropout would be another


def test_best_epoch_before_the_kill_is_restored(tmp_path):
    given = {"lr": 0.3, "patience": 2, "max_epochs": 40}
    whole = sasrec(**given).fit(SPLIT.train, SPLIT.validation)
    n_epochs = len(whole.history_)
    assert whole.best_epoch_ == n_epochs - 2  # it was stopped early
    with pytest.raises(Killed):
        sasrec(**given, checkpoint_dir=tmp_path, callbacks=[Kill(n_epochs - 1)]).fit(
            SPLIT.train, SPLIT.validation
        )
    resumed = sasrec(**given, checkpoint_dir=tmp_path).fit(SPLIT.train, SPLIT.validation)
    assert_same(resumed, whole)
    assert (resumed.best_epoch_, resumed.n_steps_) == (whole.best_epoch_, whole.n_steps_)


@pytest.mark.parametrize("method", ["finite_difference", "end_to_end"])
def test_both_levels_of_the_personalizer_resume(method, tmp_path):
    def fit(**parameters):
        recommender = sasrec(n_layers=1, **parameters)
        return DatasetPersonalizer(
            recommender, warmup_epochs=1, inner_steps=2, hypergradient=method, random_state=0
        ).fit(SPLIT.train)

    whole = fit()
    with pytest.raises(Killed):
        fit(checkpoint_dir=tmp_path, callbacks=[Kill(3)])
    resumed = fit(checkpoint_dir=tmp_path)
    assert_same(resumed.recommender_, whole.recommender_)
    assert resumed.upper_history_ == whole.upper_history_
    left, right = resumed.network_.state_dict(), whole.network_.state_dict()
    assert all(torch.equal(left[k], right[k]) for k in left)


def test_other_callbacks_are_kept(tmp_path):
    def schedule():
        return LRScheduler(policy=torch.optim.lr_scheduler.StepLR, step_size=2, gamma=0.1)

    whole = sasrec(callbacks=[schedule()]).fit(SPLIT.train)
    with pytest.raises(Killed):
        sasrec(callbacks=[schedule(), Kill(3)], checkpoint_dir=tmp_path).fit(SPLIT.train)
    assert_same(sasrec(callbacks=[schedule()], checkpoint_dir=tmp_path).fit(SPLIT.train), whole)


KILLER = """
    # a process of its own, since one that has used autograd must not fork
    import os, random, signal, sys, time
    from tests.test_checkpoint import SPLIT, sasrec, torch
    torch.set_num_threads(1)
    for _ in range(4):
        child = os.fork()
        if not child:
            sasrec(checkpoint_dir=sys.argv[1], max_epochs=60).fit(SPLIT.train)
            os._exit(0)
        time.sleep(random.uniform(0.05, 0.3))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_killed_process_resumes(tmp_path):
    """Killed at random moments, also while it writes (100 times in benchmarks/checkpoint.py)."""
    root = Path(__file__).resolve().parents[1]
    killer = [sys.executable, "-c", textwrap.dedent(KILLER), str(tmp_path)]
    subprocess.run(killer, cwd=root, check=True)
    resumed = sasrec(max_epochs=60, checkpoint_dir=tmp_path).fit(SPLIT.train)
    assert_same(resumed, sasrec(max_epochs=60).fit(SPLIT.train))
    assert os.listdir(tmp_path) == []


@pytest.fixture
def written(tmp_path):
    """File of a fit that ended after two epochs."""
    with pytest.raises(Killed):
        sasrec(checkpoint_dir=tmp_path, callbacks=[Kill(2)]).fit(SPLIT.train)
    return tmp_path / "SASRec.checkpoint"


def refused(written, match, X=SPLIT.train, y=None, **parameters):
    content = written.read_bytes()
    model = sasrec(checkpoint_dir=written.parent, **parameters)
    with pytest.raises(ValueError, match=match) as error:
        model.fit(X, y)
    assert str(written) in str(error.value)
    assert "delete it" in str(error.value)
    assert not hasattr(model, "net_")
    assert written.read_bytes() == content


def test_another_training_is_refused(written):
    other = "other parameters, other data or another version"
    refused(written, other, lr=0.1)
    refused(written, other, random_state=1)
    refused(written, other, X=SPLIT.train[:-1])
    refused(written, other, y=SPLIT.validation)
    sasrec(checkpoint_dir=written.parent, verbose=0, device="auto").fit(SPLIT.train)


def test_another_version_is_refused(written, monkeypatch):
    monkeypatch.setattr("sklearn_dr4sr.__version__", "99")
    refused(written, "another version of the package")


def test_truncated_and_changed_files_are_refused(written):
    content = written.read_bytes()
    for length in (0, 5, len(checkpoint.MAGIC), len(content) // 2, len(content) - 1):
        written.write_bytes(content[:length])
        refused(written, "damaged" if length >= len(checkpoint.MAGIC) else "is no checkpoint")
    written.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    refused(written, "damaged")
    written.write_bytes(b"PK\3\4 something else")
    refused(written, "is no checkpoint of this package")


class Hostile:
    def __reduce__(self):
        return os.getenv, ("HOME",)


def test_code_in_a_file_is_refused(written):
    checkpoint.write(written, {"fingerprint": Hostile()})
    refused(written, "holds more than a checkpoint does")


@pytest.mark.parametrize("payload", [b"", b"PK\3\4", b"\x80\x02}.", b"not torch"])
def test_foreign_bytes_under_the_right_head_are_refused(written, payload):
    digest = hashlib.sha256(payload).hexdigest().encode()
    written.write_bytes(checkpoint.MAGIC + digest + b"\n" + payload)
    refused(written, "holds more than a checkpoint does|torch cannot read|not a state")


@pytest.mark.parametrize("state", [[], {}, {"fingerprint": 1}, {"module": {}}])
def test_another_state_is_refused(written, state):
    checkpoint.write(written, state)
    refused(written, "not a state|other parameters, other data")


@pytest.mark.parametrize(
    "changes",
    [
        {"module": {}},
        {"module": {"item_embedding.weight": torch.zeros(2, 2)}},
        {"module": 3},
        {"optimizer": {}},
        {"history": 3},
        {"callbacks": []},
        {"callbacks": {"tasks": {"on_epoch_end": 1}}},
        {"callbacks": {"tasks": {"__class__": 1}}},
        {"rng": torch.zeros(3)},
        {"rng": "x"},
        {"loader": {}},
        {"loader": {"rng": {}, "rest": torch.zeros(0, dtype=torch.int64)}},
        {"loader": {"rest": torch.full((3,), 10**6)}},
        {"loader": {"rest": torch.zeros(3)}},
        {"loader": None},
    ],
    ids=str,
)
def test_a_state_that_does_not_fit_is_refused(written, changes):
    """As of one who knows the fingerprint of the fit: nothing half loaded, nothing overwritten."""
    checkpoint.write(written, {**checkpoint.read(written), **changes})
    refused(written, "whose state does not fit")


class Full(Callback):
    """Fill the disk after two epochs."""

    def __init__(self, monkeypatch, what):
        self.monkeypatch, self.what = monkeypatch, what

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == 3:

            def fail(*args):
                raise OSError(errno.ENOSPC, "No space left on device")

            self.monkeypatch.setattr(self.what, fail)


@pytest.mark.parametrize("what", ["torch.save", "os.fsync", "os.replace"])
def test_full_disk_leaves_the_file_before(what, tmp_path, monkeypatch):
    model = sasrec(checkpoint_dir=tmp_path, callbacks=[Full(monkeypatch, what)])
    with pytest.raises(OSError, match=r"No space left.*of an earlier epoch is intact") as error:
        model.fit(SPLIT.train)
    assert error.value.errno == errno.ENOSPC
    assert not hasattr(model, "net_")
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["SASRec.checkpoint"]  # and no temporary file
    state = checkpoint.read(tmp_path / "SASRec.checkpoint")
    assert len(state["history"]) == 2
    assert_same(sasrec(checkpoint_dir=tmp_path).fit(SPLIT.train), sasrec().fit(SPLIT.train))


def test_a_folder_that_was_cleared_is_made_again(tmp_path):
    folder, kept = tmp_path / "a" / "b", []

    class Clears(Callback):
        def on_epoch_begin(self, net, **kwargs):
            kept.append(any(folder.iterdir()))
            shutil.rmtree(folder.parent)

    cleared = sasrec(checkpoint_dir=folder, callbacks=[Clears()], max_epochs=3)
    assert_same(cleared.fit(SPLIT.train), sasrec(max_epochs=3).fit(SPLIT.train))
    assert kept == [False, True, True]


def test_keyboard_interrupt_leaves_the_file(tmp_path):
    class Interrupt(Callback):
        def on_batch_end(self, net, **kwargs):
            if len(net.history) > 2:
                raise KeyboardInterrupt

    for make, data in ((sasrec, SPLIT.train), (regenerator, MINED)):
        with pytest.warns(UserWarning, match="interrupted in epoch"):
            make(checkpoint_dir=tmp_path, callbacks=[Interrupt()]).fit(data)
        assert len(os.listdir(tmp_path)) == 1
        assert_same(make(checkpoint_dir=tmp_path).fit(data), make().fit(data))


def test_the_checkpoint_does_not_change_what_the_memory_knows(tmp_path):
    kept = {"memory": str(tmp_path / "memory")}
    regenerator(**kept).fit(MINED)
    model = regenerator(**kept, checkpoint_dir=tmp_path / "new", callbacks=[Kill(0)]).fit(MINED)
    assert_same(model, regenerator().fit(MINED))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"checkpoint_dir": 3}, "checkpoint_dir: expected a path or None, got 3"),
        ({"checkpoint_dir": "here", "random_state": None}, "needs an integer random_state"),
    ],
)
def test_bad_parameters(parameters, message):
    for make, data in ((sasrec, SPLIT.train), (regenerator, MINED)):
        with pytest.raises((TypeError, ValueError), match=message):
            make(**parameters).fit(data)
    if "random_state" in parameters:
        with pytest.raises(ValueError, match=message):
            DatasetPersonalizer(sasrec(checkpoint_dir="here")).fit(SPLIT.train)


# ------------------------------------------------------ MELT, which fits one recommender in another


def melt(base, **parameters):
    return MELT(base, **({"max_epochs": 4, "batch_size": 32, "random_state": 0} | parameters))


def contrastive(**parameters):
    return CL4SRec(**TINY, augment="original", **parameters)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("make_base", [sasrec, contrastive])
def test_both_fits_of_melt_resume(make_base, early_stopping, tmp_path):
    y = SPLIT.validation if early_stopping else None
    whole = melt(make_base()).fit(SPLIT.train, y)
    base_file = f"{type(make_base()).__name__}.checkpoint"
    with pytest.raises(Killed):
        melt(make_base(callbacks=[Kill(2)]), checkpoint_dir=tmp_path).fit(SPLIT.train, y)
    assert os.listdir(tmp_path) == [base_file]
    for after in (1, 3):
        with pytest.raises(Killed):
            melt(make_base(), checkpoint_dir=tmp_path, callbacks=[Kill(after)]).fit(SPLIT.train, y)
        assert set(os.listdir(tmp_path)) == {base_file, "MELT.checkpoint"}
    resumed = melt(make_base(), checkpoint_dir=tmp_path).fit(SPLIT.train, y)
    assert_same(resumed, whole)
    assert_same(resumed.recommender_, whole.recommender_)
    assert resumed.recommender_.checkpoint_dir is None
    assert os.listdir(tmp_path) == []


def test_a_finished_recommender_is_not_fitted_again(tmp_path):
    class Count(Callback):
        epochs = 0

        def on_epoch_begin(self, net, **kwargs):
            Count.epochs += 1

    base = sasrec(callbacks=[Count()])
    with pytest.raises(Killed):
        melt(base, checkpoint_dir=tmp_path, callbacks=[Kill(1)]).fit(SPLIT.train)
    assert Count.epochs == base.max_epochs
    melt(base, checkpoint_dir=tmp_path).fit(SPLIT.train)
    assert Count.epochs == base.max_epochs


def test_melt_around_a_fitted_recommender_resumes_with_that_one_alone(tmp_path):
    fitted, other = (sasrec(random_state=seed).fit(SPLIT.train) for seed in (0, 1))
    other.random_state = 0  # the same parameters, and other weights
    with pytest.raises(Killed):
        melt(fitted, checkpoint_dir=tmp_path, callbacks=[Kill(2)]).fit(SPLIT.train)
    assert os.listdir(tmp_path) == ["MELT.checkpoint"]
    for model in (melt(other), melt(sasrec()), melt(fitted, user_quantile=0.7)):
        with pytest.raises(ValueError, match="other parameters, other data"):
            model.set_params(checkpoint_dir=tmp_path).fit(SPLIT.train)
    resumed = melt(fitted, checkpoint_dir=tmp_path).fit(SPLIT.train)
    assert_same(resumed, melt(fitted).fit(SPLIT.train))


def test_a_recommender_with_a_folder_of_its_own(tmp_path):
    own, outer = tmp_path / "own", tmp_path / "outer"
    base = sasrec(checkpoint_dir=own)
    with pytest.raises(Killed):
        melt(base, checkpoint_dir=outer, callbacks=[Kill(1)]).fit(SPLIT.train)
    assert (os.listdir(own), os.listdir(outer)) == (["SASRec.checkpoint"], ["MELT.checkpoint"])
    model = melt(base, checkpoint_dir=outer).fit(SPLIT.train)
    assert os.listdir(own) == os.listdir(outer) == []
    assert model.recommender_.checkpoint_dir == own
    melt(base).fit(SPLIT.train)  # without one around it, it finishes by itself
    assert os.listdir(own) == []


def test_an_interrupt_of_the_recommender_is_one_of_melt(tmp_path):
    class Interrupt(Callback):
        def on_batch_end(self, net, **kwargs):
            if len(net.history) > 2:
                raise KeyboardInterrupt

    model = melt(sasrec(callbacks=[Interrupt()]), checkpoint_dir=tmp_path)
    with pytest.warns(UserWarning, match="interrupted in epoch"), pytest.raises(KeyboardInterrupt):
        model.fit(SPLIT.train)
    assert os.listdir(tmp_path) == ["SASRec.checkpoint"]
    resumed = melt(sasrec(), checkpoint_dir=tmp_path).fit(SPLIT.train)
    assert_same(resumed, melt(sasrec()).fit(SPLIT.train))


def test_melt_needs_integer_seeds(tmp_path):
    with pytest.raises(ValueError, match="needs an integer random_state, got None"):
        melt(sasrec(), checkpoint_dir=tmp_path, random_state=None).fit(SPLIT.train)
    melt(sasrec(random_state=None), checkpoint_dir=tmp_path, max_epochs=1).fit(SPLIT.train)


def test_a_state_of_the_branches_that_does_not_fit_is_refused(tmp_path):
    fitted, path = sasrec().fit(SPLIT.train), tmp_path / "MELT.checkpoint"
    with pytest.raises(Killed):
        melt(fitted, checkpoint_dir=tmp_path, callbacks=[Kill(1)]).fit(SPLIT.train)
    for changed in ({}, {"rng": 3}, {"rng": {}}):
        state = checkpoint.read(path)
        state["callbacks"]["start_epoch"] = {"branches_": changed}
        checkpoint.write(path, state)
        with pytest.raises(ValueError, match="whose state does not fit"):
            melt(fitted, checkpoint_dir=tmp_path).fit(SPLIT.train)


class KillAt(Callback):
    """Count the epochs that begin; at one of them, end the process."""

    begun = 0

    def __init__(self, at):
        self.at = at

    def on_epoch_begin(self, net, **kwargs):
        KillAt.begun += 1
        if KillAt.begun == self.at:
            raise Killed


def killed_and_run_again(make, at, n_epochs):
    """What is killed at the epoch ``at`` of ``n_epochs`` begins only what is left of them anew."""
    KillAt.begun = 0
    with pytest.raises(Killed):
        make(at).fit(SPLIT.train)
    KillAt.begun = 0
    resumed = make(0).fit(SPLIT.train)
    assert KillAt.begun == n_epochs - at + 1
    return resumed


@pytest.mark.parametrize("at", [3, 8])
def test_members_of_one_class_resume_each_from_a_file_of_its_own(at, tmp_path):
    def make(at, directory=tmp_path):
        callbacks = [KillAt(at)]
        pairs = [
            (name, sasrec(callbacks=callbacks, checkpoint_dir=directory, random_state=seed))
            for seed, name in enumerate(("first", "second"))
        ]
        return RankBlend([*pairs, ("chain", MarkovChain())])

    resumed, whole = killed_and_run_again(make, at, 10), make(0, None).fit(SPLIT.train)
    for name in ("first", "second"):
        assert_same(resumed.named_estimators_[name], whole.named_estimators_[name])
        assert resumed.named_estimators_[name].checkpoint_dir == tmp_path
    assert not list(tmp_path.rglob("*.checkpoint"))


@pytest.mark.parametrize("at", [3, 8])
def test_both_fits_of_a_stack_resume(at, tmp_path):
    def make(at, directory=tmp_path):
        member = sasrec(callbacks=[KillAt(at)], checkpoint_dir=directory)
        return RankStack([("model", member), ("chain", MarkovChain())], random_state=0)

    resumed, whole = killed_and_run_again(make, at, 10), make(0, None).fit(SPLIT.train)
    assert_same(resumed.named_estimators_["model"], whole.named_estimators_["model"])
    assert (resumed.predict(SPLIT.history) == whole.predict(SPLIT.history)).all()
    assert not list(tmp_path.rglob("*.checkpoint"))


def test_a_recommender_within_is_told_by_what_it_depends_on(tmp_path):
    def fit(callbacks=(), **parameters):
        # a callback is an object, of which a text holds the address
        inner = sasrec(callbacks=[Kill(9)], max_epochs=2, **parameters)
        outer = regenerator(item_embedding=inner, checkpoint_dir=tmp_path, callbacks=callbacks)
        return outer.fit(MINED)

    with pytest.raises(Killed):
        fit([Kill(2)])
    with pytest.raises(ValueError, match="other parameters"):
        fit(lr=0.5)
    fit(verbose=0)
    assert os.listdir(tmp_path) == []


def test_a_callback_may_record_arrays_but_no_objects(tmp_path):
    found = []

    class Record(Callback):
        def __init__(self, value):
            self.value = value

        def on_epoch_end(self, net, **kwargs):
            net.history.record("norms", self.value)
            found[:] = [epoch["norms"] for epoch in net.history.to_list()]

    def record(value):
        return sasrec(callbacks=[Record(value)], checkpoint_dir=tmp_path)

    with pytest.raises(Killed):
        sasrec(callbacks=[Record(np.ones(2)), Kill(2)], checkpoint_dir=tmp_path).fit(SPLIT.train)
    record(np.ones(2)).fit(SPLIT.train)
    assert list(map(list, found)) == [[1.0, 1.0]] * 5
    with pytest.raises(TypeError, match=r"history\['norms'\]: a checkpoint keeps .* got <object"):
        record(object()).fit(SPLIT.train)
