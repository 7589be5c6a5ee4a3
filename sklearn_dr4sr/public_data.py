"""Public data sets, fetched from their origin or read from the user's own copy; none come along."""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
from sklearn.datasets import fetch_file, get_data_home
from sklearn.utils import Bunch

from ._parameters import as_path
from .files import TEXT, read_delimited, read_json_lines, read_sequences
from .interactions import sequences_from_interactions

__all__ = ["fetch_amazon", "fetch_gowalla", "fetch_movielens", "fetch_s3rec", "load_yelp"]

_AMAZON = "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles"
_MOVIELENS = "https://files.grouplens.org/datasets/movielens"
_GOWALLA = "https://snap.stanford.edu/data"
_S3REC = (
    "https://raw.githubusercontent.com/aHuiWang/CIKM2020-S3Rec/"
    "49a890dcb516c9ed3126564495234ea74d5cd566/data"
)

#: Categories of the edition of 2014.
_CATEGORIES = (
    "Amazon_Instant_Video", "Apps_for_Android", "Automotive", "Baby", "Beauty", "Books",
    "CDs_and_Vinyl", "Cell_Phones_and_Accessories", "Clothing_Shoes_and_Jewelry", "Digital_Music",
    "Electronics", "Grocery_and_Gourmet_Food", "Health_and_Personal_Care", "Home_and_Kitchen",
    "Kindle_Store", "Movies_and_TV", "Musical_Instruments", "Office_Products",
    "Patio_Lawn_and_Garden", "Pet_Supplies", "Sports_and_Outdoors", "Tools_and_Home_Improvement",
    "Toys_and_Games", "Video_Games",
)  # fmt: skip
#: Archive, file in it and what separates its fields.
_MOVIELENS_FILES = {
    "100k": ("ml-100k.zip", "ml-100k/u.data", "\t"),
    "1m": ("ml-1m.zip", "ml-1m/ratings.dat", "::"),
}
#: SHA-256 of files that do not change.
_SHA256 = {
    "ml-100k.zip": "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
    "ml-1m.zip": "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
    "Beauty.txt": "226cce9c3105299ca0db9615d7d3fb32b3175e90da43100ae352599f0f0107b8",
    "LastFM.txt": "9ded486adb5b0fe9dc761950afa0a9a05e93ff018992e0c52bf11afec529f802",
    "Sports_and_Outdoors.txt": "2a095e0648872beb9982408958290f5d655db5be2911c3756b5446de9f0b8de2",
    "Toys_and_Games.txt": "176c680c688d497598c4a89a03b402c0fe78d795e5db335c2e78dd5f2d778a3f",
}
_S3REC_FILES = ("Beauty", "Sports_and_Outdoors", "Toys_and_Games", "LastFM")

_AMAZON_DESCR = """Amazon product ratings, edition of 2014, category {category}

Who rated what and when, May 1996 to July 2014, gathered by J. McAuley (UC San Diego). A rating is
an interaction, whatever its stars.

Origin: {url}
Terms: the origin states no licence. It provides the data for research and asks to cite:

  R. He, J. McAuley. Ups and downs: modeling the visual evolution of fashion trends with one-class
  collaborative filtering. WWW 2016.
  J. McAuley, C. Targett, J. Shi, A. van den Hengel. Image-based recommendations on styles and
  substitutes. SIGIR 2015.
"""

_MOVIELENS_DESCR = """MovieLens {name}

Who rated which film and when, gathered by GroupLens at the University of Minnesota. A rating is an
interaction, whatever its stars.

Origin: {url}
Terms: for research, under the conditions of the README in the archive: no endorsement by the
University of Minnesota or GroupLens may be stated or implied; use must be acknowledged in
publications; no redistribution, and no commercial use, without permission. To cite:

  F. M. Harper, J. A. Konstan. The MovieLens datasets: history and context. ACM Transactions on
  Interactive Intelligent Systems 5(4), 19, 2015.
"""

_GOWALLA_DESCR = """Gowalla check-ins

Who checked in where and when, February 2009 to October 2010, in a social network of places.

Origin: {url}
Terms: the origin, Stanford's SNAP, states no licence for the data and asks to cite:

  E. Cho, S. A. Myers, J. Leskovec. Friendship and mobility: user movement in location-based social
  networks. KDD 2011.
"""

_S3REC_DESCR = """{name}, as the authors of S3-Rec preprocessed it

Who bought what (LastFM: listened to whom), in order of time; the 5-core, users and items numbered.

Origin: {url}
Terms: the repository states no licence; those of the data's own origin hold. Beauty,
Sports_and_Outdoors and Toys_and_Games are Amazon's ratings of 2014, provided for research, to cite:

  R. He, J. McAuley. Ups and downs: modeling the visual evolution of fashion trends with one-class
  collaborative filtering. WWW 2016.

LastFM is HetRec 2011's, for research and not for commercial use, to cite:

  I. Cantador, P. Brusilovsky, T. Kuflik. Second workshop on information heterogeneity and fusion in
  recommender systems. RecSys 2011.

And for the preprocessing:

  K. Zhou et al. S3-Rec: self-supervised learning for sequential recommendation with mutual
  information maximization. CIKM 2020.
"""

_YELP_DESCR = """Yelp Open Dataset, reviews

Who reviewed which business and when. A review is an interaction, whatever its stars.

Origin: https://www.yelp.com/dataset, read from {url}
Terms: Yelp's own, to be accepted there before the download; among others, for academic and personal
use, and not to be distributed or published. Cite as Yelp Open Dataset, with its address.
"""


def fetch_amazon(
    category: str = "Beauty",
    *,
    min_count: int = 5,
    duplicates: str = "keep",
    data_home: str | PathLike | None = None,
    sha256: str | None = None,
    n_retries: int = 3,
    delay: float = 1.0,
) -> Bunch:
    """Fetch Amazon's ratings of a category (2014), the source of the paper's Beauty and Toys.

    Parameters
    ----------
    category : str, default="Beauty"
        As the origin calls it: "Beauty", "Sports_and_Outdoors", "Toys_and_Games", "Books", ...; an
        unknown one raises an error that lists all. The file of Beauty has 2 million lines.
    min_count : int, default=5
        The k-core that is kept; 5 in the paper, 1 keeps all.
    duplicates : {"keep", "first", "last"}, default="keep"
        As in :func:`~sklearn_dr4sr.datasets.sequences_from_interactions`.
    data_home : str, path or None, default=None
        Folder in which ``sklearn_dr4sr/`` holds the files; None: scikit-learn's data home. What is
        there is not downloaded again.
    sha256 : str or None, default=None
        What the file must hash to; None: not checked, as the origin publishes none.
        :func:`fetch_movielens` knows its archives' and checks them.
    n_retries : int, default=3
        Retries of a failed download.
    delay : float, default=1.0
        Seconds between them.

    Returns
    -------
    sklearn.utils.Bunch
        ``sequences`` (Sequences, one row a user), ``users``, ``times`` and ``dropped`` as in
        :class:`~sklearn_dr4sr.datasets.Interactions`, ``filename`` and ``DESCR``: origin, terms
        and what to cite.

    Raises
    ------
    OSError
        If the file is not there and cannot be downloaded, with its address and the place to put it;
        if it is damaged or hashes to something else.
    ValueError
        On an unknown category or a malformed line, with its number.
    ImportError
        Without narwhals and pandas.

    Notes
    -----
    Terms of use: the origin states no licence; it provides the data for research and asks to cite
    [1]_ and [2]_. Nothing of it is distributed with this package.

    References
    ----------
    .. [1] R. He, J. McAuley, "Ups and downs: modeling the visual evolution of fashion trends with
       one-class collaborative filtering", WWW 2016.
    .. [2] J. McAuley et al., "Image-based recommendations on styles and substitutes", SIGIR 2015.

    Examples
    --------
    >>> from sklearn_dr4sr.datasets import fetch_amazon
    >>> beauty = fetch_amazon("Beauty")  # doctest: +SKIP
    >>> beauty.sequences.describe()  # doctest: +SKIP
    """
    if not isinstance(category, str) or category not in _CATEGORIES:
        raise ValueError(f"category must be one of {', '.join(_CATEGORIES)}, got {category!r}")
    url = f"{_AMAZON}/ratings_{category}.csv"
    path = _fetch(url, data_home, sha256, n_retries, delay)
    names = ("user", "item", "rating", "timestamp")
    with open(path, **TEXT) as file:
        frame = _read(path, lambda: read_delimited(file, path, _columns(names), ",", names))
    descr = _AMAZON_DESCR.format(category=category, url=url)
    return _bunch(frame, _columns(names), min_count, duplicates, path, descr)


def fetch_movielens(
    name: str = "100k",
    *,
    min_count: int = 5,
    duplicates: str = "keep",
    data_home: str | PathLike | None = None,
    sha256: str | None = None,
    n_retries: int = 3,
    delay: float = 1.0,
) -> Bunch:
    """Fetch MovieLens' ratings: long histories, many of them at the same time.

    Parameters
    ----------
    name : {"100k", "1m"}, default="100k"
        Which one: 100,000 ratings of 943 users, or a million of 6,040.
    min_count, duplicates, data_home, sha256, n_retries, delay
        As in :func:`fetch_amazon`; ``sha256`` is the archive's, None: the known one. (The origin
        publishes MD5 sums, which no longer keep forgeries out.)

    Returns
    -------
    sklearn.utils.Bunch
        As :func:`fetch_amazon`.

    Raises
    ------
    OSError, ValueError, ImportError
        As :func:`fetch_amazon`.

    Notes
    -----
    Terms of use: for research; use must be acknowledged, by citing [1]_; no endorsement by the
    University of Minnesota or GroupLens may be implied; no redistribution, and no commercial use,
    without permission. The README in the archive has them in full.

    References
    ----------
    .. [1] F. M. Harper, J. A. Konstan, "The MovieLens datasets: history and context", ACM TiiS
       5(4), 2015.

    Examples
    --------
    >>> from sklearn_dr4sr.datasets import fetch_movielens
    >>> fetch_movielens("100k").sequences  # doctest: +SKIP
    """
    if not isinstance(name, str) or name not in _MOVIELENS_FILES:
        raise ValueError(f"name must be one of {', '.join(_MOVIELENS_FILES)}, got {name!r}")
    archive, member, delimiter = _MOVIELENS_FILES[name]
    url = f"{_MOVIELENS}/{archive}"
    known = _SHA256[archive] if sha256 is None else sha256
    path = _fetch(url, data_home, known, n_retries, delay)
    names = ("user", "item", "rating", "timestamp")

    def read() -> Any:
        with zipfile.ZipFile(path) as pack:
            if member not in pack.namelist():
                raise ValueError(f"{path}: the archive holds no {member}")
            with pack.open(member) as raw:
                lines = io.TextIOWrapper(raw, **TEXT)
                tabbed = (line.replace(delimiter, "\t") for line in lines)
                return read_delimited(tabbed, f"{path}, {member}", _columns(names), "\t", names)

    descr = _MOVIELENS_DESCR.format(name=name, url=url)
    return _bunch(_read(path, read), _columns(names), min_count, duplicates, path, descr)


def fetch_gowalla(
    *,
    min_count: int = 5,
    duplicates: str = "keep",
    data_home: str | PathLike | None = None,
    sha256: str | None = None,
    n_retries: int = 3,
    delay: float = 1.0,
) -> Bunch:
    """Fetch Gowalla's check-ins: six million, many at places that the user knew already.

    Parameters
    ----------
    min_count, duplicates, data_home, sha256, n_retries, delay
        As in :func:`fetch_amazon`. ``duplicates="first"`` keeps the first visit of each place.

    Returns
    -------
    sklearn.utils.Bunch
        As :func:`fetch_amazon`; times are dates.

    Raises
    ------
    OSError, ValueError, ImportError
        As :func:`fetch_amazon`.

    Notes
    -----
    Terms of use: the origin, Stanford's SNAP, states no licence and asks to cite [1]_.

    References
    ----------
    .. [1] E. Cho, S. A. Myers, J. Leskovec, "Friendship and mobility: user movement in
       location-based social networks", KDD 2011.

    Examples
    --------
    >>> from sklearn_dr4sr.datasets import fetch_gowalla
    >>> fetch_gowalla(duplicates="first", min_count=10).sequences  # doctest: +SKIP
    """
    url = f"{_GOWALLA}/loc-gowalla_totalCheckins.txt.gz"
    path = _fetch(url, data_home, sha256, n_retries, delay)
    names = ("user", "time", "latitude", "longitude", "place")
    columns = ("user", "place", "time")
    with gzip.open(path, "rt", **TEXT) as file:
        frame = _read(path, lambda: read_delimited(file, path, columns, "\t", names))
    return _bunch(frame, columns, min_count, duplicates, path, _GOWALLA_DESCR.format(url=url))


def fetch_s3rec(
    name: str = "Beauty",
    *,
    data_home: str | PathLike | None = None,
    n_retries: int = 3,
    delay: float = 1.0,
) -> Bunch:
    """Fetch a data set as S3-Rec preprocessed it: the very files that the paper is measured on.

    Parameters
    ----------
    name : {"Beauty", "Sports_and_Outdoors", "Toys_and_Games", "LastFM"}, default="Beauty"
        Which one. The paper has the first three, with 22,363, 35,598 and 19,412 users; LastFM is
        small, and its histories are long.
    data_home, n_retries, delay
        As in :func:`fetch_amazon`.

    Returns
    -------
    sklearn.utils.Bunch
        ``sequences`` (Sequences, one row a user), ``filename`` and ``DESCR``: origin, terms and
        what to cite. The files hold neither times nor the origin's ids.

    Raises
    ------
    OSError, ValueError
        As :func:`fetch_amazon`. Files are held to their known SHA-256.

    Notes
    -----
    The folder of ``filename`` is what ``benchmarks.reproduce`` takes as ``--data``. The paper's
    fourth set, Yelp, may not be distributed: see :func:`load_yelp`.

    Terms of use: the repository states no licence, and those of the data's own origins hold: for
    research, LastFM not for commercial use; cite [1]_ and [2]_, for LastFM [3]_ in place of [2]_.

    References
    ----------
    .. [1] K. Zhou et al., "S3-Rec: self-supervised learning for sequential recommendation with
       mutual information maximization", CIKM 2020.
    .. [2] R. He, J. McAuley, "Ups and downs: modeling the visual evolution of fashion trends with
       one-class collaborative filtering", WWW 2016.
    .. [3] I. Cantador, P. Brusilovsky, T. Kuflik, "Second workshop on information heterogeneity and
       fusion in recommender systems", RecSys 2011.

    Examples
    --------
    >>> from sklearn_dr4sr.datasets import fetch_s3rec
    >>> fetch_s3rec("Toys_and_Games").sequences  # doctest: +SKIP
    """
    if not isinstance(name, str) or name not in _S3REC_FILES:
        raise ValueError(f"name must be one of {', '.join(_S3REC_FILES)}, got {name!r}")
    url = f"{_S3REC}/{name}.txt"
    path = _fetch(url, data_home, _SHA256[f"{name}.txt"], n_retries, delay)
    descr = _S3REC_DESCR.format(name=name, url=url)
    return Bunch(sequences=read_sequences(path), filename=str(path), DESCR=descr)


def load_yelp(
    path: str | PathLike,
    *,
    since: str | None = None,
    until: str | None = None,
    min_count: int = 5,
    duplicates: str = "keep",
) -> Bunch:
    """Read the reviews in your own copy of the Yelp Open Dataset, which may not be distributed.

    Parameters
    ----------
    path : str or path
        ``yelp_academic_dataset_review.json``, a JSON object a line, or the same compressed
        (``.gz``). It comes from https://www.yelp.com/dataset, once its terms are accepted.
    since, until : str or None, default=None
        ISO dates: reviews from ``since`` on, and before ``until``. Papers that follow S3-Rec take
        "2019-01-01" and "2019-12-31"; how many reviews of that year there are depends on the
        edition.
    min_count, duplicates
        As in :func:`fetch_amazon`.

    Returns
    -------
    sklearn.utils.Bunch
        As :func:`fetch_amazon`; times are dates.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        On a malformed line, with its number; on a bad date; if no review lies between them.
    ImportError
        Without narwhals and pandas.

    Notes
    -----
    Terms of use: Yelp's own; among others, for academic and personal use, and not to be distributed
    or published. That is why there is no ``fetch_yelp``.

    Examples
    --------
    >>> from sklearn_dr4sr.datasets import load_yelp
    >>> load_yelp("yelp_academic_dataset_review.json", since="2019-01-01")  # doctest: +SKIP
    """
    columns = ("user_id", "business_id", "date")
    path = as_path("path", path)
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", **TEXT) as file:
        frame = _read(path, lambda: read_json_lines(file, path, columns))
    inside = frame["date"].notna()
    if since is not None:
        inside &= frame["date"] >= _date("since", since)
    if until is not None:
        inside &= frame["date"] < _date("until", until)
    if not inside.any():
        raise ValueError(f"{path}: no review of {len(frame)} lies in since={since}, until={until}")
    descr = _YELP_DESCR.format(url=path)
    return _bunch(frame[inside], columns, min_count, duplicates, Path(path), descr)


def _date(name: str, value: Any) -> np.datetime64:
    try:
        return np.datetime64(value)
    except ValueError:
        raise ValueError(f"{name}: expected an ISO date, got {value!r}") from None


def _columns(names: tuple[str, ...]) -> tuple[str, str, str]:
    user, item, _, time = names
    return user, item, time


def _fetch(
    url: str, data_home: str | PathLike | None, sha256: str | None, n_retries: int, delay: float
) -> Path:
    """Path of the file, downloaded where it is not there."""
    folder = Path(get_data_home(data_home)) / "sklearn_dr4sr"
    folder.mkdir(parents=True, exist_ok=True)
    name = url.rsplit("/", 1)[-1]
    try:
        return Path(fetch_file(url, folder, name, sha256, n_retries=n_retries, delay=delay))
    except (URLError, TimeoutError, ConnectionError) as error:
        raise OSError(
            f"{url} cannot be downloaded ({getattr(error, 'reason', error)}). Download it where "
            f"there is a connection and put it there: {folder / name}; or name another folder by "
            "data_home"
        ) from error


def _read(path: Any, read: Callable[[], Any]) -> Any:
    """Read a file, or say that it is damaged."""
    try:
        return read()
    except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile) as error:
        raise OSError(f"{path} is damaged ({error}): delete it and fetch it again") from error


def _bunch(
    frame: Any, columns: tuple, min_count: int, duplicates: str, path: Path, descr: str
) -> Bunch:
    found = sequences_from_interactions(
        frame, *columns, min_count, duplicates=duplicates, return_details=True
    )
    found = found._replace(users=found.users.to_numpy())
    return Bunch(**found._asdict(), filename=str(path), DESCR=descr)
