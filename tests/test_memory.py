"""What is held at once; and where memory does not suffice: smaller chunks, or what to lower."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from test_common import TINY
from torch.utils._python_dispatch import TorchDispatchMode

from sklearn_dr4sr import DatasetPersonalizer, DatasetRegenerator, PatternMiner
from sklearn_dr4sr._memory import OutOfMemoryError, in_chunks, is_out_of_memory
from sklearn_dr4sr.baselines import MarkovChain
from sklearn_dr4sr.datasets import make_sequences
from sklearn_dr4sr.model_selection import leave_one_out
from sklearn_dr4sr.recommenders import SASRec, training
from sklearn_dr4sr.recommenders.training import held_out_ranks
from sklearn_dr4sr.regeneration import decoding
from sklearn_dr4sr.sequences import as_sequences

ROWS = make_sequences(30, 12, random_state=0)
SPLIT = leave_one_out(ROWS)
FULL = torch.cuda.OutOfMemoryError("CUDA out of memory.")


def small(function, most, size=len):
    """The function on a device that has room for so many rows."""

    def call(*args, **kwargs):
        sizes.append(size(*args))
        if sizes[-1] > most:
            raise FULL
        return function(*args, **kwargs)

    sizes = call.sizes = []
    return call


def test_what_tells_that_memory_is_full():
    with pytest.raises(RuntimeError) as of_torch:
        torch.empty(2**56, dtype=torch.uint8)
    with pytest.raises(MemoryError) as of_numpy:
        np.empty(2**56, dtype=np.uint8)
    assert is_out_of_memory(of_torch.value)
    assert is_out_of_memory(of_numpy.value)
    assert is_out_of_memory(FULL)
    assert not is_out_of_memory(RuntimeError("CUDA error: device-side assert triggered"))
    assert not is_out_of_memory(ValueError("can't allocate memory"))


def test_chunks_are_halved_until_they_fit():
    work = small(lambda start, stop: list(range(start, stop)), 3, lambda start, stop: stop - start)
    made = list(in_chunks(20, 16, work))
    assert [item for _, part in made for item in part] == list(range(20))
    assert [start for start, part in made] == [part[0] for _, part in made]
    assert work.sizes == [16, 8, 4, *[2] * 10]
    assert list(in_chunks(0, 4, work)) == []


def test_other_errors_are_not_tried_again():
    def fail(start, stop):
        calls.append(start)
        raise RuntimeError("something else")

    calls = []
    with pytest.raises(RuntimeError, match="something else"):
        list(in_chunks(8, 4, fail))
    assert calls == [0]


@pytest.mark.parametrize("model", [MarkovChain(), SASRec(**TINY, random_state=0)], ids=repr)
def test_ranking_falls_back_to_smaller_chunks(model, monkeypatch):
    model = clone(model).fit(ROWS)
    ranked, scores = model.predict(ROWS, k=5), model.decision_function(ROWS)
    scorer = small(model._scores, 4)
    monkeypatch.setattr(model, "_scores", scorer)
    np.testing.assert_array_equal(model.predict(ROWS, k=5), ranked)
    assert max(scorer.sizes) > 4  # else nothing was tried
    np.testing.assert_allclose(model.decision_function(ROWS), scores, rtol=1e-5)
    monkeypatch.setattr(model, "_scores", small(scorer, 0))
    shortest = int(ROWS.lengths.argmin())  # which comes first
    error = rf"^row {shortest}: out of memory .* device='cpu', or lower"
    with pytest.raises(MemoryError, match=error):
        model.predict(ROWS)
    with pytest.raises(MemoryError, match=r"^row 0: out of memory "):
        model.decision_function(ROWS)


def test_validation_falls_back_to_smaller_chunks(monkeypatch):
    queries, matrix = torch.rand(len(ROWS), 3), torch.rand(len(ROWS.items), 3)
    target = np.arange(len(ROWS)) % len(ROWS.items)
    given = (queries, matrix, ROWS, target, True)
    whole = held_out_ranks(*given)
    isneginf = small(torch.isneginf, 7)
    monkeypatch.setattr(torch, "isneginf", isneginf)
    np.testing.assert_array_equal(held_out_ranks(*given), whole)
    assert max(isneginf.sizes) == len(ROWS)


def test_decoding_falls_back_to_smaller_chunks(monkeypatch):
    model = DatasetRegenerator(
        **TINY, diversity_factor=2, item_embedding="random", random_state=0, temperature=1.0
    ).fit(ROWS)
    whole = model.transform(ROWS).table
    decode = small(decoding._decode_chunk, 5, lambda module, rows, *_: len(rows))
    monkeypatch.setattr(decoding, "_decode_chunk", decode)
    again = model.transform(ROWS).table
    assert again.sequences == whole.sequences
    np.testing.assert_array_equal(again.memory, whole.memory)
    assert max(decode.sizes) > 5
    monkeypatch.setattr(decoding, "_decode_chunk", small(decode, 0, lambda m, rows, *_: len(rows)))
    with pytest.raises(MemoryError, match=r"^row \d+: .*lower max_length, or diversity_factor"):
        _ = model.transform(ROWS).table

    def fail(*args):
        raise RuntimeError("something else")

    monkeypatch.setattr(decoding, "_decode_chunk", fail)
    with pytest.raises(RuntimeError, match="something else"):
        _ = model.transform(ROWS).table


def full(*args, **kwargs):
    raise FULL


@pytest.mark.parametrize(
    ("estimator", "where", "message"),
    [
        (
            SASRec(**TINY, batch_size=77),
            "sklearn_dr4sr.recommenders.training.SequenceNet.batch_loss",
            r"SASRec.fit is out of memory: lower batch_size=77, or n_negatives=1, or max_length=50",
        ),
        (
            DatasetRegenerator(**TINY, item_embedding="random"),
            "sklearn_dr4sr.regeneration.pretraining.loss_terms",
            r"DatasetRegenerator.fit is out of memory: lower batch_size=\d+, or max_pairs=",
        ),
        (
            DatasetPersonalizer(SASRec(**TINY, batch_size=77)),
            "sklearn_dr4sr.recommenders.training.SequenceNet.batch_loss",
            r"^SASRec.fit is out of memory: lower batch_size=77",
        ),
        (
            DatasetRegenerator(**TINY, item_embedding=SASRec(**{**TINY, "batch_size": 77})),
            "sklearn_dr4sr.recommenders.training.SequenceNet.batch_loss",
            r"^SASRec.fit is out of memory: lower batch_size=77",
        ),
        (
            PatternMiner(window_size=3),
            "sklearn_dr4sr.mining.mine_patterns",
            r"PatternMiner.fit is out of memory: lower window_size=3 \(CUDA",
        ),
        (
            MarkovChain(),
            "sklearn_dr4sr.baselines.MarkovChain._fit",
            r"MarkovChain.fit is out of memory: fit on fewer rows \(CUDA",
        ),
    ],
    ids=lambda value: type(value).__name__ if hasattr(value, "fit") else "",
)
def test_a_fit_without_memory_names_what_to_lower(estimator, where, message, monkeypatch):
    monkeypatch.setattr(where, full)
    model = clone(estimator)
    before = dict(vars(model))
    with pytest.raises(OutOfMemoryError, match=message) as error:
        model.fit(ROWS, SPLIT.validation)
    assert vars(model) == before
    assert is_out_of_memory(error.value.__cause__ or error.value)


# --- what is held at once, whatever the number of users -----------------------------------------


class Largest(TorchDispatchMode):
    """Notes the size of the largest tensor that anything returns."""

    def __init__(self):
        super().__init__()
        self.size = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **kwargs or {})
        for part in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(part, torch.Tensor):
                self.size = max(self.size, part.numel())
        return made


def test_ranking_and_validation_hold_a_bounded_number_of_scores_and_tokens(monkeypatch):
    """Of 5000 users and 4000 items there are 20 million scores."""
    rows = as_sequences(np.arange(5000 * 5).reshape(5000, 5) % 4000 + 1)
    tiny = {"embedding_dim": 2, "hidden_dim": 2, "n_heads": 1, "n_layers": 1, "device": "cpu"}
    model = SASRec(**tiny, max_epochs=1, steps_per_epoch=1, random_state=0).fit(rows)
    encode = small(training.last_states, np.inf, lambda module, ids, lengths: ids.numel())
    monkeypatch.setattr(training, "last_states", encode)
    held_out = training.ValidationNDCG(rows, rows.codes[::5].astype(np.int64), 50, True)
    model.net_.history.new_epoch()
    with Largest() as ranked:
        model.predict(rows, k=5)
    with Largest() as validated:
        held_out.on_epoch_end(model.net_)
    assert sum(encode.sizes) == 2 * 5000 * 5
    assert max(encode.sizes) <= 2**13
    assert 2**22 < ranked.size <= 2**23
    assert 2**20 < validated.size <= 2**21
