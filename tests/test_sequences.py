"""The one door for data: what goes in comes out, and what is wrong is named."""

import copy
import pickle
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples

from sklearn_dr4sr import SequenceDataset, Sequences
from sklearn_dr4sr.sequences import as_items, as_sequences, distinct_ids, positions_in

integers = st.one_of(st.integers(0, 9), st.integers(0, 2**63 - 1))
rows_of_ints = st.lists(st.lists(integers, max_size=6), min_size=1, max_size=8)
rows_of_text = st.lists(st.lists(st.text(max_size=3), max_size=6), min_size=1, max_size=8)
any_rows = st.one_of(rows_of_ints, rows_of_text)


def as_object_array(rows):
    array = np.empty(len(rows), dtype=object)
    array[:] = [np.array(row, dtype=object) for row in rows]
    return array


class TestForms:
    @given(any_rows)
    def test_what_goes_in_comes_out(self, rows):
        before = copy.deepcopy(rows)
        made = Sequences(rows)
        assert list(made) == before == rows
        assert [made[i] for i in range(len(made))] == rows
        assert made.items.tolist() == sorted({item for row in rows for item in row})
        assert made.lengths.tolist() == [len(row) for row in rows]
        assert made.rows.tolist() == [i for i, row in enumerate(rows) for _ in row]

    @given(any_rows)
    def test_every_form_of_the_same_rows_is_equal(self, rows):
        made = Sequences(rows)
        forms = [tuple(map(tuple, rows)), as_object_array(rows), SequenceDataset(rows), made]
        assert all(as_sequences(form) == made for form in forms)
        assert as_sequences(made) is made

    @given(rows_of_ints)
    def test_numpy_integers_are_ints(self, rows):
        made = as_sequences([np.array(row, dtype=np.int64) for row in rows])
        assert made == Sequences(rows)
        assert as_sequences([[np.int64(v) for v in row] for row in rows]) == made
        assert all(type(item) is int for row in made for item in row)

    @given(rows_of_text)
    def test_numpy_text_is_text(self, rows):
        made = as_sequences([[np.str_(v) for v in row] for row in rows])
        assert made == Sequences(rows)
        assert all(type(item) is str for item in made.items)

    @given(st.lists(st.lists(st.integers(1, 9), max_size=5), min_size=1, max_size=6), st.data())
    def test_zero_pads_in_a_matrix_wherever_it_stands(self, rows, data):
        width = max(1, *map(len, rows))
        matrix = np.zeros((len(rows), width), dtype=data.draw(st.sampled_from([int, float, "u2"])))
        for line, row in zip(matrix, rows, strict=True):
            free = sorted(data.draw(st.permutations(range(width)))[: len(row)])
            line[free] = row
        before = matrix.copy()
        assert list(as_sequences(matrix)) == rows
        assert list(as_sequences(matrix.astype(object))) == rows
        assert list(as_sequences(pd.DataFrame(matrix))) == rows
        np.testing.assert_array_equal(matrix, before)

    def test_zero_is_an_item_in_a_list(self):
        assert list(as_sequences([[0, 1], [0]])) == [[0, 1], [0]]

    def test_a_series_of_lists(self):
        assert list(as_sequences(pd.Series([[1, 2], [3]], index=[7, 9]))) == [[1, 2], [3]]

    def test_empty_rows_are_legal(self):
        assert list(Sequences([[], [1], []])) == [[], [1], []]
        assert list(Sequences([[]])) == [[]]


class TestErrors:
    @pytest.mark.parametrize(
        ("rows", "error", "message"),
        [
            ([[1, 2], [3, -4]], ValueError, r"row 1, position 1: .*non-negative.*got -4"),
            ([[1], [2, 1.5]], ValueError, r"row 1, position 1: .*got 1\.5 \(float\)"),
            ([[1], [2, float("nan")]], ValueError, r"row 1, position 1: .*got nan"),
            ([[True]], ValueError, r"row 0, position 0: .*got True \(bool\)"),
            ([[1, None]], TypeError, r"row 0, position 1: .*got None \(NoneType\)"),
            ([[1], [(2, 3)]], TypeError, r"row 1, position 0: .*got \(2, 3\) \(tuple\)"),
            (
                [[1, 2], [3, "x"]],
                TypeError,
                r"^row 1, position 1: item ids must be all int or all str, got both: 'x' \(str\)$",
            ),
            ([["x"], [3]], TypeError, r"row 1, position 0: .*got both: 3 \(int\)"),
            ([[1], [2**63]], ValueError, r"row 1, position 0: .*64-bit.*got 9223372036854775808"),
            ([[1], 2], TypeError, r"row 1: expected a sequence of item ids.*got int: 2"),
            ([[1], "tea"], TypeError, r"row 1: .*got str: 'tea'"),
            (["tea"], TypeError, r"row 0: .*got str: 'tea'"),
            ([[1], None], TypeError, r"row 1: .*got NoneType"),
            ([[1], {1, 2}], TypeError, r"row 1: .*got set"),
            ([[1], np.ones((2, 2), int)], TypeError, r"row 1: .*got ndarray"),
            ([], ValueError, r"no rows \(0 sample\(s\)\)"),
            ("tea", TypeError, r"expected a list of item sequences.*got str"),
            (None, TypeError, r"got NoneType"),
            (7, TypeError, r"got int"),
            ({1: [2]}, TypeError, r"got dict"),
            (np.arange(3), ValueError, r"shape \(3,\) and dtype int64"),
            (np.ones((2, 2, 2)), ValueError, r"shape \(2, 2, 2\)"),
            (np.zeros((0, 3)), ValueError, r"0 sample\(s\)"),
            (np.zeros((3, 0)), ValueError, r"0 feature\(s\)"),
            (np.array([[1, 2], [3, -4]]), ValueError, r"row 1, position 1: Negative.*-4"),
            (np.array([[1, 2], [np.nan, 4]]), ValueError, r"row 1, position 0: .*NaN"),
            (np.array([[1, 2], [3, np.inf]]), ValueError, r"row 1, position 1: .*inf"),
            (np.array([[1, 2.5]]), ValueError, r"row 0, position 1: .*got (np\.float64\()?2\.5"),
            (np.array([[1, 2j]]), ValueError, r"Complex data not supported"),
            (np.array([["a", "b"]]), TypeError, r"dtype <U1.*as a list of sequences"),
            (np.array([[1, 2], [3, "b"]], dtype=object), TypeError, r"row 1: .*got 'b'"),
        ],
    )
    def test_row_and_value_are_named(self, rows, error, message):
        with pytest.raises(error, match=message):
            as_sequences(rows)

    @pytest.mark.parametrize("rows", [["a", "b"], ("a", "b"), np.array(["a", "b"])])
    def test_a_single_history_is_to_be_wrapped(self, rows):
        with pytest.raises((TypeError, ValueError), match=r"wrap .*: \[\['a', 'b'\]\]$"):
            as_sequences(rows)
        with pytest.raises(TypeError, match=r"wrap .*: \[\[3, 4\]\]$"):
            as_sequences([3, 4])
        with pytest.raises(TypeError, match=r"got NoneType: None$"):
            as_sequences([None, "a"])

    @pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow", "dict", "numpy"])
    @pytest.mark.parametrize("names", [("user", "item", "time"), ("CustomerId", "ts", "n")])
    @pytest.mark.parametrize("ids", [[1, 2], ["a", "b"]])
    def test_a_log_is_sent_to_where_it_becomes_sequences(self, library, names, ids):
        columns = dict(zip(names, (ids, ids, [3, 4]), strict=True))
        module = pytest.importorskip(library) if library != "dict" else None
        make = {
            "numpy": lambda: pd.DataFrame(columns).to_records(index=False),
            "dict": lambda: columns,
            "pyarrow": lambda: module.table(columns),
        }.get(library, lambda: module.DataFrame(columns))
        with pytest.raises(TypeError, match=r"X has the columns .*sequences_from_interactions\("):
            as_sequences(make())

    def test_other_tables_with_text_are_sent_there_too(self):
        columns = {"who": ["a", "b"], "what": ["x", "y"], "when": [1, 2]}
        for frame in (pd.DataFrame(columns), pd.DataFrame(columns).to_numpy(dtype="U")):
            with pytest.raises(TypeError, match=r"sequences_from_interactions\("):
                as_sequences(frame)
        pl = pytest.importorskip("polars")
        with pytest.raises(TypeError, match=r"LazyFrame.*\.collect\(\)"):
            as_sequences(pl.LazyFrame(columns))

    @pytest.mark.parametrize("names", [["item_1", "item_2"], ["t0", "t1"], ["time_1_item", "item"]])
    def test_a_padded_frame_is_no_log(self, names):
        assert list(as_sequences(pd.DataFrame([[1, 2], [3, 0]], columns=names))) == [[1, 2], [3]]

    def test_sparse_input_has_no_order(self):
        from scipy.sparse import csr_matrix

        with pytest.raises(TypeError, match="sparse input is not supported"):
            as_sequences(csr_matrix(np.eye(2)))

    def test_a_long_value_is_cut(self):
        with pytest.raises(TypeError) as caught:
            as_sequences([[1], "x" * 1000])
        assert len(str(caught.value)) < 250

    @pytest.mark.parametrize(
        ("row", "shown"),
        [("x" * 58, "'" + "x" * 58 + "'"), ("x" * 59, "'" + "x" * 56 + "...")],
    )
    def test_sixty_characters_of_a_value_are_shown(self, row, shown):
        with pytest.raises(TypeError, match=rf"got str: {re.escape(shown)}$"):
            as_sequences([[1], row])

    def test_a_row_of_two_axes_gets_no_advice(self):
        with pytest.raises(TypeError, match=r"got ndarray: array\(\[\[1, 2\]\]\)$"):
            as_sequences([[1], np.array([[1, 2]])])

    def test_no_rows_of_sequences_either(self):
        with pytest.raises(ValueError, match="no rows"):
            as_sequences(Sequences([[1]])[:0])


class TestIndexing:
    @given(any_rows, st.data())
    def test_integers_and_slices_as_in_a_list(self, rows, data):
        made = Sequences(rows)
        at = data.draw(st.integers(-len(rows), len(rows) - 1))
        cut = data.draw(st.slices(len(rows)))
        assert made[at] == rows[at] == made[np.int64(at)]
        assert list(made[cut]) == rows[cut]

    @given(any_rows, st.data())
    def test_arrays_and_masks_as_in_numpy(self, rows, data):
        made = Sequences(rows)
        picked = data.draw(st.lists(st.integers(-len(rows), len(rows) - 1)))
        mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))))
        expected = [rows[i] for i in picked]
        assert list(made[np.array(picked, dtype=int)]) == expected
        assert list(made[mask]) == [row for row, kept in zip(rows, mask, strict=True) if kept]
        if picked:
            assert list(made[picked]) == list(_safe_indexing(made, picked)) == expected
            assert list(made[np.array(picked), ...]) == expected
        if mask.any():
            assert list(_safe_indexing(made, mask)) == list(made[mask])

    @pytest.mark.parametrize("at", [3, -4])
    def test_out_of_range(self, at):
        made = Sequences([[1], [2], [3]])
        with pytest.raises(IndexError, match=f"row {at} is out of range for 3 rows"):
            made[at]
        with pytest.raises(IndexError):
            made[[at]]

    def test_there_is_one_axis(self):
        with pytest.raises(TypeError, match="one axis"):
            Sequences([[1, 2]])[0, 1]

    def test_it_is_a_sequence(self):
        made = Sequences([[1, 2], [], [1, 2]])
        assert [1, 2] in made
        assert [2] not in made
        assert made.index([]) == 1
        assert made.count([1, 2]) == 2
        assert list(reversed(made)) == [[1, 2], [], [1, 2]]
        assert made.shape == (3,)
        assert _num_samples(made) == len(made) == 3

    def test_a_slice_is_a_view(self):
        made = Sequences([[1, 2], [3], [4, 5]])
        assert np.shares_memory(made[1:].codes, made.codes)


class TestOperations:
    @given(any_rows, st.data())
    def test_recode_skips_what_the_vocabulary_lacks(self, rows, data):
        made = Sequences(rows)
        mask = data.draw(
            st.lists(st.booleans(), min_size=len(made.items), max_size=len(made.items))
        )
        items = made.items[np.array(mask, dtype=bool)]
        recoded = made.recode(items)
        kept = set(items.tolist())
        assert recoded.items is items
        assert list(recoded) == [[item for item in row if item in kept] for row in rows]

    def test_recode_to_its_own_vocabulary_is_itself(self):
        rows = Sequences([[1, 2]])
        assert rows.recode(rows.items) is rows

    def test_recode_to_a_wider_vocabulary(self):
        made = Sequences([[5, 3]]).recode(np.array([1, 3, 4, 5, 9]))
        assert made.codes.tolist() == [3, 1]
        assert made[0] == [5, 3]

    def test_recode_between_integers_and_text_is_an_error(self):
        with pytest.raises(TypeError, match="such as 3 where those that are known are such as '5'"):
            Sequences([[5, 3], []]).recode(Sequences([["5"]]).items)
        assert list(Sequences([[], []]).recode(Sequences([["5"]]).items)) == [[], []]

    @given(any_rows, st.data())
    def test_compact_keeps_rows_and_drops_items(self, rows, data):
        made = Sequences(rows)
        part = made[data.draw(st.slices(len(rows)))]
        assert list(part.compact()) == list(part)
        assert part.compact().items.tolist() == sorted({item for row in part for item in row})
        assert made.compact() is made

    @given(any_rows, st.integers(0, 7))
    def test_last_and_drop_last(self, rows, n):
        made = Sequences(rows)
        assert list(made.last(n)) == [row[max(0, len(row) - n) :] for row in rows]
        assert list(made.drop_last(n)) == [row[: max(0, len(row) - n)] for row in rows]
        assert list(made) == rows

    @given(any_rows, st.one_of(st.none(), st.integers(1, 7)), st.sampled_from([-1, 0, 99]))
    def test_padded(self, rows, width, fill):
        made = Sequences(rows)
        matrix = made.padded(width, fill=fill)
        assert matrix.shape == (len(rows), width or max(map(len, rows)))
        for line, row in zip(matrix, made.last(matrix.shape[1]), strict=True):
            assert made.items[line[: len(row)]].tolist() == row
            assert (line[len(row) :] == fill).all()

    @given(st.one_of(st.tuples(rows_of_ints, rows_of_ints), st.tuples(rows_of_text, rows_of_text)))
    def test_concatenate(self, parts):
        joined = Sequences.concatenate([Sequences(part) for part in parts])
        assert list(joined) == parts[0] + parts[1]
        assert joined.items.tolist() == sorted({v for part in parts for row in part for v in row})

    def test_concatenate_parts_of_one_vocabulary(self):
        made = Sequences([[3], [1, 2], [2]])
        joined = Sequences.concatenate([made[2:], made[:0], made[:2]])
        assert list(joined) == [[2], [3], [1, 2]]
        assert joined.items is made.items

    @given(any_rows)
    def test_pickles(self, rows):
        again = pickle.loads(pickle.dumps(Sequences(rows)))
        assert again == Sequences(rows)
        assert list(again) == rows

    def test_equality(self):
        made = Sequences([[1, 2], [3]])
        assert made == Sequences([[9], [1, 2], [3]])[1:]  # another vocabulary, the same rows
        assert made != Sequences([[1], [2, 3]])
        assert made != Sequences([[1, 2], [4]])
        assert made != Sequences([["1", "2"], ["3"]])
        assert made != [[1, 2], [3]]

    def test_repr(self):
        assert repr(Sequences([[1, 2], [2]])) == "Sequences(2 rows, 3 interactions, 2 items)"


class TestHeldOutItems:
    @pytest.mark.parametrize(
        "y",
        [
            [3, None, 5],
            (3, np.nan, 5),
            np.array([3, np.nan, 5]),
            np.array([3, None, 5], dtype=object),
            pd.Series([3, np.nan, 5]),
            pd.Series([3, None, 5], dtype=object),
        ],
    )
    def test_forms(self, y):
        taken = as_items(y, 3)
        assert taken.tolist() == [3, None, 5]
        assert [type(item) for item in taken] == [int, type(None), int]

    def test_text(self):
        assert as_items(np.array(["a", "b"]), 2).tolist() == ["a", "b"]

    @pytest.mark.parametrize("bad", [1.5, True, np.True_, -1, -2.0, np.inf, (1,), [1]])
    def test_row_and_value_are_named(self, bad):
        with pytest.raises(ValueError, match=r"y, row 1: expected an item id"):
            as_items([1, bad], 2)

    @pytest.mark.parametrize(
        ("y", "message"),
        [
            ([1], "y has 1 entries, X has 2 rows"),
            (np.ones((2, 1), int), r"1d array.*shape \(2, 1\)"),
            ("ab", "got str"),
            (7, "got int"),
        ],
    )
    def test_one_item_a_row(self, y, message):
        with pytest.raises(ValueError, match=message):
            as_items(y, 2)

    @pytest.mark.parametrize(
        ("y", "items", "message"),
        [
            ([None, "1", "2"], np.array([1, 2]), "y, row 1: expected an int, .* got '1'"),
            (
                [None, 1, 2],
                np.array(["1", "2"], dtype=object),
                "y, row 1: expected a str, .* got 1",
            ),
            ([1, None, "a"], np.array([1, 2]), "y, row 2: expected an int, .* got 'a'"),
            (["a", None, 1], None, "y, row 2: expected a str, .* got 1"),
        ],
    )
    def test_int_and_str_are_never_equal(self, y, items, message):
        with pytest.raises(TypeError, match=message):
            as_items(y, 3, items)

    def test_none_is_of_either_kind(self):
        for items in (np.array([1]), np.array(["a"], dtype=object), np.array([], dtype=int), None):
            assert as_items([None, np.nan], 2, items).tolist() == [None, None]
        assert as_items(["a"], 1, np.array([], dtype=int)).tolist() == ["a"]  # no item, no kind

    def test_sparse_is_no_item_a_row(self):
        with pytest.raises(TypeError, match="y is sparse: pass one item id a row"):
            as_items(sparse.csr_array(np.ones((2, 1))), 2)


@given(st.lists(integers, unique=True, max_size=60), st.lists(integers), st.booleans())
@example(list(range(40)), [3, 99], True)
def test_positions_in(known, wanted, as_text):
    items, wanted = np.array(sorted(known), dtype=np.int64), np.array(wanted, dtype=np.int64)
    if as_text:
        items = np.array(sorted(map(str, known)), dtype=object)
        wanted = np.array(list(map(str, wanted)), dtype=object)
    place = {item: at for at, item in enumerate(items.tolist())}
    assert positions_in(items, wanted).tolist() == [place.get(v, -1) for v in wanted.tolist()]


@given(
    st.lists(st.integers(-3, 40) | integers, max_size=30),
    st.sampled_from(["int32", "int64", "object"]),
)
@example([], "int64")
@example([7, 0, 7], "int32")  # just dense enough to be marked in an array
@example([3, 0, 2**62], "int64")  # not to be
def test_distinct_ids(ids, dtype):
    limit = np.iinfo("int32" if dtype == "int32" else "int64").max
    ids = [min(value, limit) for value in ids]
    array = np.array(list(map(str, ids)) if dtype == "object" else ids, dtype=dtype)
    items, codes = distinct_ids(array)
    assert items.dtype == array.dtype
    assert items.tolist() == sorted(set(array.tolist()))
    assert items[codes].tolist() == array.tolist()


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64, np.uint64])
def test_rows_by_position_whatever_the_type(dtype):
    """More rows than the type holds."""
    many = Sequences.from_codes(np.arange(600) % 7, np.arange(0, 601, 2), np.arange(7))
    picked = np.array([5, 0, 119], dtype=dtype)
    assert list(many[picked]) == [many[int(row)] for row in picked]
    assert len(many[picked[:0]]) == 0
    if np.issubdtype(dtype, np.signedinteger):
        assert list(many[-1 - picked]) == [many[-1 - int(row)] for row in picked]
        with pytest.raises(IndexError, match="row -4 is out of range for 3 rows"):
            many[:3][np.array([1, -4], dtype=dtype)]
    with pytest.raises(IndexError, match="row 3 is out of range for 3 rows"):
        many[:3][np.array([1, 3], dtype=dtype)]


def test_describe_by_hand():
    found = Sequences([[3, 1, 3], [], [1]]).describe()
    assert {k: v for k, v in found.items() if k != "hash"} == {
        "n_rows": 3,
        "n_items": 2,
        "n_interactions": 4,
        "density": 4 / 6,
        "length_min": 0,
        "length_median": 1.0,
        "length_mean": 4 / 3,
        "length_max": 3,
        "lengths": {0: 1, 1: 1, 3: 1},
        "repeats": 0.25,
    }
    # what no row holds does not count, what differs does
    assert Sequences([[1, 2], [9]])[:1].describe() == Sequences([[1, 2]]).describe()
    hashes = {Sequences(rows).describe()["hash"] for rows in ([[1, 2]], [[2, 1]], [["1", "2"]])}
    assert len(hashes) == 3


def test_describe_of_one_item_and_of_none():
    one = Sequences([[7]])
    found = one.describe()
    assert (found["density"], found["length_mean"], found["repeats"]) == (1.0, 1.0, 0.0)
    nothing = one[:0].describe()
    assert {k: v for k, v in nothing.items() if k != "hash"} == {
        "n_rows": 0,
        "n_items": 0,
        "n_interactions": 0,
        "density": 0.0,
        "length_min": 0,
        "length_median": 0.0,
        "length_mean": 0.0,
        "length_max": 0,
        "lengths": {},
        "repeats": 0.0,
    }
    assert Sequences([[]]).describe()["repeats"] == 0.0


@pytest.mark.parametrize(
    ("rows", "known"),
    [
        ([[3, 1, 3], [], [1]], "1d29ea960115bdc67956878c974602dbbf7d8ce98c765b4c799eabac2a681dee"),
        ([["b", "a"]], "f006c900f764a1a41e053b4a6a3d8f612560938c4e3da807dc337f486c114be4"),
    ],
)
def test_the_hash_of_rows_stays_what_it_was(rows, known):
    """Else what was written down of data no longer tells whether they are the same."""
    assert Sequences(rows).describe()["hash"] == known


def test_numbers_and_texts_do_not_mix():
    from sklearn_dr4sr import PatternMiner

    miner = PatternMiner().fit([[1, 2], [1, 2]])
    with pytest.raises(TypeError, match="integers and strings are never equal"):
        miner.transform([["a", "b"], []])
    assert list(miner.transform([[], []]).patterns) == [[], []]  # of neither kind
    with pytest.raises(TypeError, match="all int or all str"):
        Sequences.concatenate([Sequences([[1]]), Sequences([["a"]])])


@pytest.mark.parametrize("unit", ["timedelta64[s]", "datetime64[s]"])
def test_times_are_no_held_out_items(unit):
    times = np.array([3, 4]).astype(unit)
    with pytest.raises(ValueError, match="expected item ids"):
        as_items(times, 2)
    with pytest.raises(ValueError, match="row 0: expected an item id"):
        as_items(list(times), 2)


@pytest.mark.parametrize("dtype", [np.uint64, np.float64, np.float32])
def test_ids_of_a_matrix_that_int64_cannot_hold(dtype):
    with pytest.raises(ValueError, match=r"row 1, position 0: item ids must be below 2\*\*63"):
        as_sequences(np.array([[1], [2**63]], dtype=dtype))
    assert list(as_sequences(np.array([[2**62]], dtype=dtype))) == [[2**62]]


def test_the_largest_id_of_a_matrix():
    assert list(as_sequences(np.array([[2**63 - 1]], dtype=np.uint64))) == [[2**63 - 1]]


def test_large_ids_of_an_object_matrix_stay_apart():
    rows = [[2**60 + 1, 2**60 + 2], [2**60 + 3, 7]]
    assert list(as_sequences(np.array(rows, dtype=object))) == rows
    frame = pd.DataFrame({"a": pd.array([2**60 + 1, 2], "Int64"), "b": pd.array([0, 3], "Int64")})
    assert list(as_sequences(frame)) == [[2**60 + 1], [2, 3]]
    assert list(as_sequences(np.array([[1, 2.0], [3, 0]], dtype=object))) == [[1, 2], [3]]
    for value in (2**63, -(2**63) - 1):
        with pytest.raises(ValueError, match=r"row 1, position 0: item ids must lie in 0 \.\."):
            as_sequences(np.array([[1], [value]], dtype=object))
