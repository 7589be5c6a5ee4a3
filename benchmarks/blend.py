"""The best pipeline: all that was trained, blended with rules or stacked, by the validation items.

    python -m benchmarks.blend --data Beauty.txt --model BSARec --loss ce --set '{...}' \
        --teachers 2 --generation 2 --continuation '{"n_copies": 8}'

Takes the backbones and the students that ``benchmarks.run --recipe taught`` with the same words has
kept. Each set of them (backbones, students, all) is blended with rules, of the weight that ranks
the validation items best, and stacked (RankStack learns from the validation items); the test items
are ranked by the result alone. Writes results/blend-SET-*.json and stack-SET-*.json, and the ranks
for paired tests.
"""

from __future__ import annotations

from pathlib import Path

import joblib
import numpy as np
from sklearn.frozen import FrozenEstimator

from benchmarks.recipes import backbone_name, blend, shares, stack, student_name
from benchmarks.run import describe, evaluate, parse, write
from sklearn_dr4sr.baselines import SequentialRules
from sklearn_dr4sr.datasets import load_sequences
from sklearn_dr4sr.metrics import ndcg_at_k
from sklearn_dr4sr.model_selection import leave_one_out
from sklearn_dr4sr.recommenders import RankBlend

RULES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)


def members(args, seed: int) -> dict[str, dict[str, str]]:
    """Names of the kept models of each set."""
    backbones = {f"model{s}": backbone_name(args, s) for s in range(seed, seed + args.teachers)}
    students = {f"student{g}": student_name(args, seed, g) for g in range(1, args.generation + 1)}
    return {"backbones": backbones, "students": students, "all": backbones | students}


def load(names: dict[str, str], cache: Path) -> list:
    """Models that were kept, as they were fitted."""
    return [(m, FrozenEstimator(joblib.load(cache / f"{n}.joblib")[0])) for m, n in names.items()]


def choose(models: list, split) -> tuple[RankBlend, dict]:
    """Blend with the weight of the rules that ranks the validation items best."""
    named = [*models, ("rules", SequentialRules())]
    blended = blend(named).fit(split.train)
    known = np.flatnonzero([item is not None for item in split.validation])
    found = {}
    for weight in RULES:
        blended.set_params(weights=shares(named, weight))
        ranking = blended.predict(split.train[known], k=20)
        found[weight] = round(ndcg_at_k(split.validation[known], ranking, 20), 5)
        print([name for name, _ in models], weight, found[weight], flush=True)
    best = max(found, key=found.get)
    blended.set_params(weights=shares(named, best))
    return blended, {"rules": best, "validation_ndcg@20": found}


def main() -> None:
    """Measure the sets that the command line names."""
    args = parse()
    split = leave_one_out(load_sequences(args.data))
    seed = args.first_seed
    for which, names in members(args, seed).items():
        models = load(names, args.cache)
        ranked_by = {
            "blend": choose(models, split),
            "stack": (stack(models, seed).fit(split.train, split.validation), {}),
        }
        for kind, (ranker, record) in ranked_by.items():
            record |= {"members": list(names.values()), "data": args.name, "seed": seed}
            record["test"], rank = evaluate(ranker, split)
            record |= describe(args)
            record["command"] = record["command"].replace("benchmarks.run", "benchmarks.blend")
            name = f"{kind}-{which}-{student_name(args, seed, args.generation)}"
            write(args.results, name, record, rank)


if __name__ == "__main__":
    main()
