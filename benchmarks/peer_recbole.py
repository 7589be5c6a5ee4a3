"""SASRec with cross-entropy here and in RecBole, in turn in one process: an epoch.

    pip install "numpy<2" "pandas<2.2" recbole
    python -m benchmarks.peer_recbole --data Beauty.txt

The same data, widths, layers, heads, dropout, length, batch size; on both sides an item after
the first of a row is a target once an epoch (here of its last 51 items, in RecBole of all). RecBole
makes a padded sample of each prefix, so a batch of its has as many targets as rows, and an epoch
more optimizer steps; its time is measured over ``--batches`` of them and scaled to its epoch. CPU
seconds, medians of ``--repeats``, and the ratio of those that a target takes. Writes
results/peer_recbole.json.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import sys
import tempfile
import time
import warnings
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import torch

from benchmarks import peers
from benchmarks.peers import sasrec
from sklearn_dr4sr import SequenceDataset
from sklearn_dr4sr.datasets import load_sequences
from sklearn_dr4sr.model_selection import leave_one_out

RESULTS = Path(__file__).parent / "results"
SIZES = {**peers.SIZES, "hidden": 256}


class Part:
    """The first batches of a loader."""

    def __init__(self, loader, n_batches):
        self.loader, self.n_batches = loader, n_batches

    def __len__(self):
        return self.n_batches

    def __iter__(self):
        return islice(iter(self.loader), self.n_batches)


class RecBole:
    """RecBole's SASRec on the whole rows, of which it leaves the last two out itself."""

    def __init__(self, sequences, folder, n_batches):
        from recbole.config import Config
        from recbole.data import create_dataset, data_preparation
        from recbole.model.sequential_recommender import SASRec
        from recbole.trainer import Trainer

        SequenceDataset(sequences).to_recbole(folder / "made")
        settings = {
            "data_path": str(folder),
            "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
            "eval_args": {
                "split": {"LS": "valid_and_test"},
                "order": "TO",
                "group_by": "user",
                "mode": "full",
            },
            "MAX_ITEM_LIST_LENGTH": SIZES["length"],
            "train_neg_sample_args": None,
            "loss_type": "CE",
            "hidden_size": SIZES["dim"],
            "inner_size": SIZES["hidden"],
            "n_layers": SIZES["n_blocks"],
            "n_heads": SIZES["n_heads"],
            "hidden_dropout_prob": SIZES["dropout"],
            "attn_dropout_prob": SIZES["dropout"],
            "train_batch_size": SIZES["batch"],
            "use_gpu": False,
            "gpu_id": "",
            "show_progress": False,
            "state": "ERROR",
            "checkpoint_dir": str(folder / "saved"),
        }
        words, sys.argv = sys.argv, sys.argv[:1]  # RecBole reads the command line too
        config = Config(model="SASRec", dataset="made", config_dict=settings)
        sys.argv = words
        self.loader, _, _ = data_preparation(config, create_dataset(config))
        self.n_targets = len(self.loader.dataset)
        self.part = Part(self.loader, min(n_batches, len(self.loader)))
        here = Path.cwd()
        os.chdir(folder)  # it leaves a log for TensorBoard wherever it stands
        self.trainer = Trainer(config, SASRec(config, self.loader.dataset).to("cpu"))
        os.chdir(here)

    def epoch(self) -> float:
        """CPU seconds."""
        start = time.process_time()
        self.trainer._train_epoch(self.part, 0)
        return (time.process_time() - start) * len(self.loader) / len(self.part)


class Ours:
    """This package's SASRec."""

    def __init__(self, histories):
        self.histories = histories
        self.n_targets = int((histories.lengths - 1).clip(0, SIZES["length"]).sum())
        self.n_steps = -(-int((histories.lengths >= 2).sum()) // SIZES["batch"])

    def epoch(self) -> float:
        """CPU seconds: a fit of two epochs without one of a single epoch."""
        taken = []
        for epochs in (1, 2):
            model = sasrec(SIZES, "ce", epochs, "cpu")
            start = time.process_time()
            model.fit(self.histories)
            taken.append(time.process_time() - start)
        return taken[1] - taken[0]


def main() -> None:
    """Measure both in turn."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    sequences = load_sequences(args.data)
    with tempfile.TemporaryDirectory() as folder:
        recbole = RecBole(sequences, Path(folder), args.batches)
        ours = Ours(leave_one_out(sequences).train)
        seconds: dict[str, list[float]] = {"ours": [], "recbole": []}
        for _ in range(args.repeats):
            for name, side in (("ours", ours), ("recbole", recbole)):
                seconds[name].append(round(side.epoch(), 2))
                print(name, seconds[name][-1], flush=True)
    median = {name: statistics.median(times) for name, times in seconds.items()}
    targets = {"ours": ours.n_targets, "recbole": recbole.n_targets}
    per_target = {name: median[name] / targets[name] for name in median}
    record = {
        "data": args.data.stem,
        "settings": SIZES,
        "targets": targets,
        "steps_of_an_epoch": {"ours": ours.n_steps, "recbole": len(recbole.loader)},
        "cpu_seconds_of_an_epoch": seconds,
        "ratio_of_cpu_seconds": {
            "epoch": round(median["recbole"] / median["ours"], 2),
            "target": round(per_target["recbole"] / per_target["ours"], 2),
        },
        "command": f"python -m benchmarks.peer_recbole --data {args.data.name} "
        f"--batches {args.batches} --repeats {args.repeats}",
        "threads": torch.get_num_threads(),
        "date": datetime.date.today().isoformat(),
        "versions": {name: version(name) for name in ("torch", "recbole", "numpy", "pandas")},
    }
    (RESULTS / "peer_recbole.json").write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
