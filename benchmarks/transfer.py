"""Does data made here help another library? RecTools' SASRec on X and X', at equal optimizer steps.

    pip install "rectools[torch]" && python -m benchmarks.transfer --data Toys_and_Games.txt

RecTools trains on each recipe of ``benchmarks.run`` for as many optimizer steps as ``--epochs`` of
the original data take, then ranks the whole catalogue for the same histories. Writes
results/transfer-NAME.json.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import time
import warnings
from importlib.metadata import version

import numpy as np

from benchmarks.peers import SIZES, rectools_dataset, rectools_sasrec
from benchmarks.recipes import training_data
from benchmarks.run import WINDOW, Stages, describe, load_split
from benchmarks.run import parse as options_of_run
from sklearn_dr4sr.metrics import ndcg_of_ranks, ranks


def train(patterns, epochs: int, loss: str, seed: int):
    """RecTools' SASRec on patterns, each as a user of its own."""
    from pytorch_lightning import seed_everything

    seed_everything(seed, verbose=False)
    return rectools_sasrec(loss, epochs, "cpu").fit(rectools_dataset(patterns))


def rank_of_test(model, split, items: np.ndarray) -> np.ndarray:
    """Rank of each test item among the first 20 (21: below), histories masked."""
    histories = split.history.recode(items)
    kept = np.flatnonzero(histories.lengths > 0)
    table = model.recommend(
        users=kept, dataset=rectools_dataset(histories), k=20, filter_viewed=True
    )
    ranked = np.full((len(histories), 20), -1, dtype=object)
    place = table.groupby("user_id").cumcount()
    ranked[table["user_id"].to_numpy(), place.to_numpy()] = items[table["item_id"].to_numpy()]
    return ranks(split.test, ranked, 20)


def main() -> None:
    """Train on each recipe, rank, compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--recipes", nargs="+", default=["backbone", "mined", "dr4sr"])
    parser.add_argument("--epochs", type=int, default=60, help="passes over the original data")
    parser.add_argument("--rectools-loss", default="BCE", choices=("BCE", "gBCE", "softmax"))
    parser.add_argument("--seed", type=int, default=0)
    own, rest = parser.parse_known_args()
    args = options_of_run(["--data", own.data, *rest])
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    split = load_split(args)
    found, steps = {}, None
    for recipe in own.recipes:
        stages = Stages()
        window = WINDOW.get(args.name, 10)
        data, _ = training_data(recipe, split, window, own.seed, stages, args)
        patterns = data.patterns[np.flatnonzero(data.patterns.lengths >= 2)].compact()
        an_epoch = math.ceil(len(patterns) / SIZES["batch"])
        steps = steps or an_epoch * own.epochs
        start = time.perf_counter()
        model = train(patterns, max(1, round(steps / an_epoch)), own.rectools_loss, own.seed)
        rank = rank_of_test(model, split, patterns.items)
        found[recipe] = {
            "patterns": len(patterns),
            "steps": an_epoch * max(1, round(steps / an_epoch)),
            "recall@20": round(float((rank <= 20).mean()), 5),
            "ndcg@20": round(float(ndcg_of_ranks(rank, 20).mean()), 5),
            "seconds": round(time.perf_counter() - start, 1),
        }
        print(recipe, found[recipe], flush=True)
        record = {"data": args.name, "loss": own.rectools_loss, "recipes": found}
        record |= {**describe(args), "rectools": version("rectools"), "settings": SIZES}
        record["command"] = record["command"].replace("benchmarks.run", "benchmarks.transfer")
        parts = [args.name] + [own.rectools_loss] * (own.rectools_loss != "BCE")
        parts += [f"epochs={own.epochs}"] * (own.epochs != 60) + [f"s{own.seed}"] * (own.seed != 0)
        args.results.mkdir(exist_ok=True, parents=True)
        path = args.results / f"transfer-{'-'.join(parts)}.json"
        path.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
