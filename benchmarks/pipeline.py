"""What predicting through a fitted Pipeline costs over predicting with its last step.

python -m benchmarks.pipeline --data Beauty.txt
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import time
from pathlib import Path

import sklearn
import torch
from sklearn.pipeline import Pipeline

from sklearn_dr4sr import DatasetRegenerator, PatternMiner
from sklearn_dr4sr.datasets import load_sequences
from sklearn_dr4sr.model_selection import leave_one_out
from sklearn_dr4sr.recommenders import SASRec


def main() -> None:
    """Fit for one epoch (the cost of predicting does not depend on it), then time in turn."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    split = leave_one_out(load_sequences(args.data))
    pipe = Pipeline(
        [
            ("mine", PatternMiner()),
            ("regenerate", DatasetRegenerator(max_epochs=1, item_embedding="random")),
            ("recommend", SASRec(max_epochs=1, steps_per_epoch=20)),
        ]
    ).fit(split.train)
    seconds = {"pipeline": [], "last_step": []}
    for _ in range(args.runs + 1):
        for name, model in (("pipeline", pipe), ("last_step", pipe[-1])):
            start = time.perf_counter()
            model.predict(split.history, k=20)
            seconds[name].append(time.perf_counter() - start)
    median = {name: statistics.median(times[1:]) for name, times in seconds.items()}
    record = {
        "what": "predict of all users, k=20",
        "dataset": args.data.stem,
        "rows": len(split.history),
        "median_seconds": {name: round(value, 3) for name, value in median.items()},
        "ratio": round(median["pipeline"] / median["last_step"], 3),
        "command": f"python -m benchmarks.pipeline --data {args.data.name}",
        "date": datetime.date.today().isoformat(),
        "versions": {"torch": torch.__version__, "sklearn": sklearn.__version__},
        "threads": torch.get_num_threads(),
    }
    path = Path(__file__).parent / "results" / "pipeline.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
