"""Item sequences from a file, and made ones with something to learn in them."""

from __future__ import annotations

from os import PathLike

import numpy as np
from sklearn.utils import check_random_state

from ._parameters import as_path, check_number
from .files import TABLES, read_file, read_sequences, table_suffix
from .interactions import Interactions, sequences_from_interactions
from .public_data import fetch_amazon, fetch_gowalla, fetch_movielens, fetch_s3rec, load_yelp
from .sequences import Sequences

__all__ = [
    "Interactions",
    "fetch_amazon",
    "fetch_gowalla",
    "fetch_movielens",
    "fetch_s3rec",
    "load_sequences",
    "load_yelp",
    "make_sequences",
    "sequences_from_interactions",
]


def load_sequences(
    path: str | PathLike,
    *,
    user: str | None = None,
    item: str | None = None,
    time: str | None = None,
    min_count: int = 1,
    duplicates: str = "keep",
    names: list[str] | None = None,
    return_details: bool = False,
) -> Sequences | Interactions:
    r"""Read sequences from a file: the paper's text format, or a table of interactions.

    Parameters
    ----------
    path : str or path
        By its suffix: ``.inter``, a RecBole atomic file; ``.csv``, ``.tsv`` (any of these three may
        end in ``.gz``) or ``.parquet``, an interaction a line; any other, ``.txt`` say, the paper's
        format, where a line is a user and then the items in order of time, separated by white
        space (blank lines are skipped, the user's id is not kept). Text is UTF-8. Items are integer
        ids where all of them are non-negative integers without leading zeros, else strings.
    user, item, time : str or None, default=None
        Names of the columns of a table. None: "user_id", "item_id" and "timestamp" in ``.inter``,
        else "user", "item" and "time". Times are numbers or, all of them, ISO dates.
    min_count : int, default=1
        Of a table: the k-core that is kept (5 in the paper); 1 keeps all.
    duplicates : {"keep", "first", "last"}, default="keep"
        Of a table: as in :func:`sequences_from_interactions`.
    names : list of str or None, default=None
        Of a text table: the names of its columns, where its first line does not hold them.
    return_details : bool, default=False
        Of a table: return :class:`Interactions`, with users, times and what was dropped.

    Returns
    -------
    Sequences or Interactions
        Of the paper's format, one row a line; of a table, one row a user, in order of their ids.

    Raises
    ------
    ImportError
        For a table, without narwhals and pandas (text) or pyarrow (Parquet).
    ValueError, TypeError
        If the file holds no sequence; on a malformed line, with its number; on a missing column; if
        a parameter for tables is given with the paper's format.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from sklearn_dr4sr.datasets import load_sequences
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "shop.txt")
    ...     _ = path.write_text("ann 3 1 2\nbob 1 2\n")
    ...     list(load_sequences(path))
    [[3, 1, 2], [1, 2]]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "shop.csv")
    ...     _ = path.write_text("who,item,time\nbob,tea,2\nann,pot,3\nbob,cup,1\n")
    ...     list(load_sequences(path, user="who"))
    [['pot'], ['cup', 'tea']]
    """
    path = as_path("path", path)
    if table_suffix(path) is not None:
        frame, columns = read_file(path, (user, item, time), names)
        try:
            made = sequences_from_interactions(
                frame, *columns, min_count, duplicates=duplicates, return_details=return_details
            )
        except (TypeError, ValueError) as error:
            raise type(error)(f"{path}: {error}") from None
        # which library reads the file is nothing to the caller
        return made._replace(users=made.users.to_numpy()) if return_details else made
    for name, value, default in (
        ("user", user, None),
        ("item", item, None),
        ("time", time, None),
        ("min_count", min_count, 1),
        ("duplicates", duplicates, "keep"),
        ("names", names, None),
        ("return_details", return_details, False),
    ):
        if value is not default and not (type(value) is type(default) and value == default):
            raise ValueError(
                f"{path}: {name}={value!r} is for tables ({', '.join(TABLES)}); this file is read "
                "as the paper's text format, which has neither columns nor times"
            )
    return read_sequences(path)


#: Items whose successors are drawn at once.
CHUNK_ITEMS = 256
#: Draws of an item that a row does not hold yet, before it is drawn among those that are left.
REDRAWS = 100


def make_sequences(
    n_sequences: int = 2000,
    n_items: int = 500,
    *,
    mean_length: float = 9.0,
    min_length: int = 5,
    n_successors: int = 3,
    skip: float = 0.3,
    noise: float = 0.3,
    popularity_exponent: float = 0.8,
    random_state: int | np.random.RandomState | None = None,
) -> Sequences:
    """Generate sequences with a planted grammar, skewed popularity and noise.

    Parameters
    ----------
    n_sequences : int, default=2000
        Number of rows, at least 1.
    n_items : int, default=500
        Size of the catalogue, at least 4; ids are 1 .. n_items.
    mean_length : float, default=9.0
        Mean length: ``min_length`` plus a geometric excess. No row is longer than half the
        catalogue and one more, so that in a small catalogue they are shorter on average.
    min_length : int, default=5
        Shortest sequence, at least 1 and less than ``n_items``.
    n_successors : int, default=3
        Items that the grammar lets follow an item, the first twice as likely as the second, ....
    skip : float in [0, 1], default=0.3
        Probability that a grammatical item follows the last but one item instead of the last: what
        a model of direct transitions alone cannot see.
    noise : float in [0, 1], default=0.3
        Probability that an item is drawn by popularity alone.
    popularity_exponent : float in [0, 10], default=0.8
        Popularity of the r-th item is proportional to r ** -popularity_exponent.
    random_state : int, RandomState or None, default=None
        Seed.

    Returns
    -------
    Sequences
        No item occurs twice in a row, as in the Amazon data.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Notes
    -----
    The grammar draws ``n_successors`` successors of every item by popularity, once. Each next item
    is noise with probability ``noise``, else a successor of the last item, or with probability
    ``skip`` of the one before. An item that the row already holds is replaced by another draw by
    popularity.

    Examples
    --------
    >>> from sklearn_dr4sr.datasets import make_sequences
    >>> make_sequences(100, 50, random_state=0).shape
    (100,)
    """
    check_number("n_sequences", n_sequences, 1, integer=True)
    check_number("n_items", n_items, 4, integer=True)
    check_number("min_length", min_length, 1, n_items - 1, integer=True)
    check_number("mean_length", mean_length, min_length)
    check_number("n_successors", n_successors, 1, n_items - 1, integer=True)
    check_number("skip", skip, 0, 1)
    check_number("noise", noise, 0, 1)
    check_number("popularity_exponent", popularity_exponent, 0, 10)
    try:
        rng = check_random_state(random_state)
    except (TypeError, ValueError):
        raise ValueError(
            f"random_state: expected an int, a RandomState or None, got {random_state!r}"
        ) from None
    popularity = np.arange(1, n_items + 1) ** -float(popularity_exponent)
    popularity = rng.permutation(popularity / popularity.sum())
    # Gumbel top-k: n_successors draws without replacement for every item at once, never the item
    successors = np.empty((n_items, n_successors), dtype=np.int64)
    for start in range(0, n_items, CHUNK_ITEMS):
        some = np.arange(start, min(start + CHUNK_ITEMS, n_items))
        luck = -np.log(-np.log(rng.uniform(size=(len(some), n_items))))
        gumbel = np.log(popularity) + luck
        gumbel[np.arange(len(some)), some] = -np.inf
        successors[some] = np.argsort(-gumbel, axis=1)[:, :n_successors]
    choice = 0.5 ** np.arange(n_successors)
    choice /= choice.sum()

    excess = rng.geometric(1.0 / (mean_length - min_length + 1.0), size=n_sequences) - 1
    lengths = np.minimum(min_length + excess, n_items // 2 + 1)
    lengths = np.maximum(lengths, min_length)
    width = int(lengths.max())
    rows = np.empty((n_sequences, width), dtype=np.int64)
    rows[:, 0] = rng.choice(n_items, size=n_sequences, p=popularity)
    for t in range(1, width):
        anchor = rows[:, t - 1]
        if t >= 2:
            anchor = np.where(rng.uniform(size=n_sequences) < skip, rows[:, t - 2], anchor)
        drawn = successors[anchor, rng.choice(n_successors, size=n_sequences, p=choice)]
        by_chance = rng.uniform(size=n_sequences) < noise
        for _ in range(REDRAWS):
            drawn[by_chance] = rng.choice(n_items, size=int(by_chance.sum()), p=popularity)
            by_chance = (rows[:, :t] == drawn[:, None]).any(axis=1)
            if not by_chance.any():
                break
        for row in np.flatnonzero(by_chance):  # has all that is popular: the same law, at once
            left = np.setdiff1d(np.arange(n_items), rows[row, :t])
            luck = -np.log(-np.log(rng.uniform(size=len(left))))
            drawn[row] = left[np.argmax(np.log(popularity[left]) + luck)]
        rows[:, t] = drawn
    present = np.arange(width) < lengths[:, None]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Sequences.from_codes(rows[present], offsets, np.arange(1, n_items + 1)).compact()
