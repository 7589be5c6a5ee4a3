"""The grid search of the design, whole: K, gamma, window size, with and without the personalizer.

    python -m benchmarks.grid --data Beauty.txt --rows 3000

One hundred Pipelines through a stock GridSearchCV. Few rows and epochs: it shows that the grid runs
and what it costs, not which K is best. Writes results/grid-NAME.json.
"""

from __future__ import annotations

import argparse
import datetime
import json
import tempfile
import time
from pathlib import Path

import joblib
import numpy as np
import sklearn
import torch
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from sklearn_dr4sr import DatasetPersonalizer, DatasetRegenerator, PatternMiner
from sklearn_dr4sr.datasets import load_sequences
from sklearn_dr4sr.metrics import ranking_scorer
from sklearn_dr4sr.model_selection import LeaveLastOut, leave_one_out
from sklearn_dr4sr.recommenders import SASRec

GRID = {
    "mine__window_size": [5, 10],
    "regenerate__diversity_factor": [1, 3, 5, 7, 9],
    "regenerate__generative_probability": [0, 0.1, 0.3, 0.5, 1],
}


def main() -> None:
    """Search, then check that what was searched can be kept and read again."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, help="only the first rows")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--n-jobs", type=int, default=1)
    args = parser.parse_args()
    sequences = load_sequences(args.data)
    split = leave_one_out(sequences[: args.rows].compact() if args.rows else sequences)
    model = SASRec(max_epochs=args.epochs, random_state=0)
    personalizer = DatasetPersonalizer(model, warmup_epochs=1, inner_steps=5, random_state=0)
    with tempfile.TemporaryDirectory() as cache:
        pipe = Pipeline(
            [
                ("mine", PatternMiner(min_support=2)),
                (
                    "regenerate",
                    DatasetRegenerator(max_epochs=args.epochs, memory=cache, random_state=0),
                ),
                ("personalize", personalizer),
                ("recommend", model),
            ]
        )
        search = GridSearchCV(
            pipe,
            {**GRID, "personalize": ["passthrough", personalizer]},
            cv=LeaveLastOut(),
            scoring=ranking_scorer("recall@20", "ndcg@20"),
            refit="ndcg@20",
            n_jobs=args.n_jobs,
            verbose=2,
        )
        start = time.perf_counter()
        search.fit(split.train, split.validation)
        seconds = time.perf_counter() - start
        kept = Path(cache, "regenerator.joblib")
        joblib.dump(search.best_estimator_["regenerate"], kept)
        mined = search.best_estimator_["mine"].transform(split.train)
        before = search.best_estimator_["regenerate"].transform(mined).patterns
        same = list(joblib.load(kept).transform(mined).patterns) == list(before)
    results = search.cv_results_
    record = {
        "data": args.data.stem,
        "rows": len(split.train),
        "candidates": len(results["params"]),
        "failed": int(np.isnan(results["mean_test_ndcg@20"]).sum()),
        "seconds": round(seconds, 1),
        "median_fit_seconds": round(float(np.median(results["mean_fit_time"])), 2),
        "best": {k: str(v) for k, v in search.best_params_.items()},
        "best_validation_ndcg@20": round(float(search.best_score_), 5),
        "test": {
            name: round(float(scorer), 5)
            for name, scorer in ranking_scorer("recall@20", "ndcg@20")(
                search.best_estimator_, split.history, split.test
            ).items()
        },
        "reloaded_regenerator_gives_the_same_patterns": same,
        "command": f"python -m benchmarks.grid --data {args.data.name} --rows {args.rows} "
        f"--epochs {args.epochs} --n-jobs {args.n_jobs}",
        "date": datetime.date.today().isoformat(),
        "versions": {"torch": torch.__version__, "sklearn": sklearn.__version__},
    }
    path = Path(__file__).parent / "results" / f"grid-{args.data.stem}.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
