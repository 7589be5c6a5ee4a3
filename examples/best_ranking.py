"""The best ranking that was measured, on a log of your own, and what each part of it is worth.

python examples/best_ranking.py                  # made data; minutes
pip install -e ".[frames]"                       # for tables
python examples/best_ranking.py --data log.csv --checkpoints state    # user, item, time
python examples/best_ranking.py --data log.csv --save model.joblib --recommend top.csv

Two strong models are blended with counted rules; a third learns from histories that this teacher
continues; all are stacked with what counts. Each part stands beside the first model, with p by a
paired test over users (Holm's correction): what is not worth its training can be left out.
"""

import argparse
from pathlib import Path

import joblib
import numpy as np
from sklearn.frozen import FrozenEstimator

from sklearn_dr4sr.augmentation import TeacherContinuation
from sklearn_dr4sr.baselines import MarkovChain, SequentialRules, UserKNN
from sklearn_dr4sr.datasets import load_sequences, make_sequences
from sklearn_dr4sr.metrics import compare_to_baseline, ndcg_at_k
from sklearn_dr4sr.model_selection import LeaveOneOutSplit, leave_one_out
from sklearn_dr4sr.recommenders import BSARec, RankBlend, RankStack

#: Of the networks, beyond what makes them strong.
SETTING = {"verbose": 1}


def fit(model: BSARec, X, y) -> BSARec:
    return model.fit(X, y)


def train(split: LeaveOneOutSplit, setting: dict, seed: int, checkpoints: str | None) -> dict:
    """Fit each part of the best ranking: its name and the fitted estimator, the best last."""
    # with a folder for checkpoints, whole trainings are kept, and the one that was cut goes on
    kept = joblib.Memory(checkpoints, verbose=0).cache(fit)

    def strong(name, seed, X):
        folder = checkpoints and str(Path(checkpoints, name))
        model = BSARec.strong(random_state=seed, checkpoint_dir=folder, **setting)
        return kept(model, X, split.validation)

    rules = SequentialRules().fit(split.train)
    models = {f"model {s}": strong(f"model-{s}", s, split.train) for s in (seed, seed + 1)}
    frozen = [(name, FrozenEstimator(model)) for name, model in models.items()]
    teacher = RankBlend([*frozen, ("rules", rules)], weights=[0.5, 0.5, 1.0]).fit(split.train)
    teach = TeacherContinuation(FrozenEstimator(teacher), n_copies=8, random_state=seed)
    student = strong("student", seed, teach.fit_transform(split.train))
    members = [*frozen, ("student", FrozenEstimator(student)), ("rules", SequentialRules())]
    members += [("chain", MarkovChain()), ("neighbours", UserKNN())]
    # candidates are what models and rules find likely; chain and neighbours help to order them
    stack = RankStack(members, [1 / 3] * 3 + [1, 0, 0], labels="y", random_state=seed)
    stack.fit(split.train, split.validation)
    return {"rules": rules, **models, "teacher": teacher, "student": student, "stack": stack}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="a file that load_sequences reads; default: made data")
    parser.add_argument("--checkpoints", help="folder: a run that was killed goes on from there")
    parser.add_argument("--save", help="write the best model to this file, by joblib")
    parser.add_argument("--recommend", help="write ten items for each user to this file, as CSV")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    users, setting = None, SETTING
    if args.data and args.data.endswith(".txt"):  # the paper's format, read without users
        sequences = load_sequences(args.data)
    elif args.data:
        sequences, users, *_ = load_sequences(args.data, return_details=True)
    else:
        sequences = make_sequences(1500, 400, random_state=args.seed)
        setting = {**SETTING, "embedding_dim": 32, "hidden_dim": 128}
    split = leave_one_out(sequences)
    parts = train(split, setting, args.seed, args.checkpoints)

    known = np.array([item is not None for item in split.test])  # a row of one item has none
    histories, held_out = split.history[known], split.test[known]
    rankings = {name: model.predict(histories, k=20) for name, model in parts.items()}
    first = rankings.pop(f"model {args.seed}")
    print(f"\nNDCG@20; model {args.seed}: {ndcg_at_k(held_out, first, 20):.4f}")
    for name, found in compare_to_baseline(held_out, first, rankings, "ndcg@20").items():
        ndcg = found["ndcg@20"]
        print(f"{name:8s} {ndcg.mean_a:.4f} ({ndcg.relative:+.1%}, p = {ndcg.p_adjusted:.4f})")
    best = parts["stack"]
    if args.save:
        joblib.dump(best, args.save)
    if args.recommend:  # after all that is known of each user
        best.recommend(sequences, k=10, user_ids=users).to_csv(args.recommend, index=False)


if __name__ == "__main__":
    main()
