"""SASRec here and in RecTools, in turn in one process: an epoch, and ranking for all users.

    pip install "rectools[torch]" && python -m benchmarks.peers --data Beauty.txt

The same data, widths (RecTools' feed-forward layers are as wide as its states), blocks, heads, loss
(one uniform negative), batch size and length on both sides. An epoch is the difference between a
fit of three epochs and one of a single epoch, over two, so that what each does once is in neither.
Wall and CPU seconds, medians; the ratio is of CPU seconds, which other work on the machine disturbs
least. Writes results/peers.json. With ``--device cuda`` the ratio is of wall seconds, in
results/peers-cuda.json; without it hide a GPU (CUDA_VISIBLE_DEVICES=), on which RecTools trains.
"""

from __future__ import annotations

import argparse
import datetime
import json
import logging
import statistics
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from sklearn_dr4sr.datasets import load_sequences
from sklearn_dr4sr.model_selection import leave_one_out
from sklearn_dr4sr.recommenders import SASRec

RESULTS = Path(__file__).parent / "results"
SIZES = {"dropout": 0.5, "n_blocks": 2, "n_heads": 2, "dim": 64, "hidden": 64}
SIZES |= {"length": 50, "batch": 256}


def sasrec(sizes: dict, loss: str, epochs: int, device: str) -> SASRec:
    """This package's SASRec, of the sizes that a peer has too."""
    return SASRec(
        loss=loss,
        n_layers=sizes["n_blocks"],
        n_heads=sizes["n_heads"],
        embedding_dim=sizes["dim"],
        hidden_dim=sizes["hidden"],
        dropout=sizes["dropout"],
        max_length=sizes["length"],
        batch_size=sizes["batch"],
        max_epochs=epochs,
        random_state=0,
        device=device,
    )


class Ours:
    """This package's SASRec."""

    def __init__(self, histories, device):
        self.histories, self.device = histories, device

    def fit(self, epochs):
        self.model = sasrec(SIZES, "bce", epochs, self.device).fit(self.histories)

    def rank(self):
        self.model.predict(self.histories, k=20)


class RecTools:
    """RecTools' SASRec."""

    def __init__(self, histories, device):
        self.device = device
        self.users = np.arange(len(histories))
        self.data = rectools_dataset(histories)

    def fit(self, epochs):
        self.model = rectools_sasrec("BCE", epochs, self.device).fit(self.data)

    def rank(self):
        self.model.recommend(users=self.users, dataset=self.data, k=20, filter_viewed=True)


def rectools_sasrec(loss: str, epochs: int, device: str):
    """RecTools' SASRec, of the sizes that this package's has beside it."""
    from rectools.models import SASRecModel

    return SASRecModel(
        n_blocks=SIZES["n_blocks"],
        n_heads=SIZES["n_heads"],
        n_factors=SIZES["dim"],
        dropout_rate=SIZES["dropout"],
        session_max_len=SIZES["length"],
        loss=loss,
        n_negatives=1,
        batch_size=SIZES["batch"],
        epochs=epochs,
        recommend_torch_device=device,
    )


def rectools_dataset(sequences):
    """RecTools' form of sequences: a user a row, its ids the package's codes."""
    import pandas as pd
    from rectools.dataset import Dataset

    place = np.arange(len(sequences.codes)) - sequences.offsets[:-1][sequences.rows]
    return Dataset.construct(
        pd.DataFrame(
            {
                "user_id": sequences.rows,
                "item_id": sequences.codes,
                "weight": 1.0,
                "datetime": pd.Timestamp("2020-01-01") + pd.to_timedelta(place, unit="D"),
            }
        )
    )


SIDES = {"ours": Ours, "rectools": RecTools}


def clocked(function, *args) -> np.ndarray:
    """Wall and CPU seconds."""
    start = np.array([time.perf_counter(), time.process_time()])
    function(*args)
    return np.array([time.perf_counter(), time.process_time()]) - start


def main() -> None:
    """Measure both in turn."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, help="only the first rows")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    histories = leave_one_out(load_sequences(args.data)).train
    if args.rows:
        histories = histories[: args.rows].compact()
    found: dict = {"ours": {"epoch": [], "rank": []}, "rectools": {"epoch": [], "rank": []}}
    sides = {name: side(histories, args.device) for name, side in SIDES.items()}
    for _ in range(args.repeats):
        for name, side in sides.items():
            one, three = clocked(side.fit, 1), clocked(side.fit, 3)
            found[name]["epoch"].append((three - one) / 2)
            found[name]["rank"].append(clocked(side.rank))
            print(name, {k: v[-1].round(2).tolist() for k, v in found[name].items()}, flush=True)
    record = {
        "data": args.data.stem,
        "rows": len(histories),
        "settings": SIZES,
        "seconds": {
            name: {
                what: {
                    "wall": round(statistics.median(t[0] for t in times), 2),
                    "cpu": round(statistics.median(t[1] for t in times), 2),
                }
                for what, times in measured.items()
            }
            for name, measured in found.items()
        },
        "command": f"python -m benchmarks.peers --data {args.data.name} --repeats {args.repeats}",
        "threads": torch.get_num_threads(),
        "date": datetime.date.today().isoformat(),
        "versions": {name: version(name) for name in ("torch", "rectools", "numpy")},
    }
    options = [] if args.device == "cpu" else ["--device", args.device]
    record["command"] = " ".join([record["command"], *options])
    seconds, clock = record["seconds"], "wall" if options else "cpu"
    record[f"ratio_of_{clock}_seconds"] = {
        what: round(seconds["rectools"][what][clock] / seconds["ours"][what][clock], 2)
        for what in ("epoch", "rank")
    }
    name = "-".join(["peers", *options[1:]])
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
