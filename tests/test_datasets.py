"""Sequences from a file, and made ones: reproducible, without repeats, with a grammar to learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sklearn_dr4sr import datasets
from sklearn_dr4sr.baselines import MarkovChain, Popularity
from sklearn_dr4sr.datasets import load_sequences, make_sequences
from sklearn_dr4sr.metrics import ranking_scorer
from sklearn_dr4sr.model_selection import leave_one_out


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "shop.txt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_integer_ids(write):
    rows = load_sequences(write("1 30 4\n\n  2\t5 30 7 \n"))
    assert list(rows) == [[30, 4], [5, 30, 7]]
    assert rows.items.dtype == np.int64


@pytest.mark.parametrize("odd", ["x", "-3", "1.5", "²", "9" * 30])
def test_one_id_that_is_no_integer_makes_all_strings(write, odd):
    assert list(load_sequences(write(f"u 1 {odd}\nv 2\n"))) == [["1", odd], ["2"]]


def test_errors_name_file_and_line(write):
    with pytest.raises(ValueError, match=r"shop\.txt, line 3: a user without items, got 'bob'"):
        load_sequences(write("ann 1 2\n\nbob\n"))
    with pytest.raises(ValueError, match=r"shop\.txt: the file holds no sequence"):
        load_sequences(write("\n \n"))
    with pytest.raises(ValueError, match=r"shop\.txt, line 3: not UTF-8 text: 'ann .* 1'"):
        load_sequences(write("bob thé\n\n".encode() + b"ann \xff\xfe 1\n"))
    with pytest.raises(FileNotFoundError):
        load_sequences("no such file")


def test_successors_do_not_depend_on_how_many_are_drawn_at_once(monkeypatch):
    rows = make_sequences(50, 30, random_state=3)
    monkeypatch.setattr(datasets, "CHUNK_ITEMS", 7)
    assert make_sequences(50, 30, random_state=3) == rows


def test_made_sequences_are_reproducible():
    first, again = (make_sequences(50, 30, random_state=3) for _ in range(2))
    assert first == again
    assert first != make_sequences(50, 30, random_state=4)
    assert make_sequences(50, 30, random_state=np.random.RandomState(3)) == first


@given(
    n_items=st.integers(4, 40),
    min_length=st.integers(1, 3),
    excess=st.floats(0, 6),
    n_successors=st.integers(1, 3),
    skip=st.sampled_from([0, 0.3, 1]),
    noise=st.sampled_from([0, 0.3, 1]),
    seed=st.integers(0, 99),
)
def test_made_rows_hold_no_item_twice(n_items, min_length, excess, n_successors, skip, noise, seed):
    rows = make_sequences(
        30, n_items, mean_length=min_length + excess, min_length=min_length,
        n_successors=n_successors, skip=skip, noise=noise, random_state=seed,
    )  # fmt: skip
    assert len(rows) == 30
    assert rows.lengths.min() >= min_length
    assert all(len(set(row)) == len(row) for row in rows)
    assert rows.items.min() >= 1
    assert rows.items.max() <= n_items


def test_made_lengths_have_the_mean_asked_for():
    assert make_sequences(4000, 500, random_state=0).lengths.mean() == pytest.approx(9, abs=0.3)


def test_the_grammar_can_be_learned():
    split = leave_one_out(make_sequences(random_state=0))
    score = ranking_scorer("recall@10")
    chain = score(MarkovChain().fit(split.train), split.history, split.test)
    popular = score(Popularity().fit(split.train), split.history, split.test)
    assert chain > 0.5
    assert chain > 2 * popular


def test_without_noise_the_next_item_is_almost_certain():
    rows = make_sequences(1000, 100, n_successors=1, skip=0, noise=0, random_state=0)
    split = leave_one_out(rows)
    recall = ranking_scorer("recall@1")(MarkovChain().fit(split.train), split.history, split.test)
    assert recall > 0.8


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_sequences", 0),
        ("n_items", 3),
        ("min_length", 0),
        ("min_length", 500),
        ("mean_length", 4.0),
        ("n_successors", 0),
        ("skip", 1.1),
        ("noise", -0.1),
        ("noise", float("nan")),
    ],
)
def test_parameters_out_of_range(name, value):
    with pytest.raises(ValueError, match=f"^{name} must be .* got {value}"):
        make_sequences(**{name: value})


def test_a_catalogue_of_few_popular_items_does_not_hang():
    rows = make_sequences(200, 60, popularity_exponent=10, mean_length=25, random_state=0)
    assert all(len(set(row)) == len(row) for row in rows)
