"""The best pipeline: all that was trained, blended with rules or stacked, by the validation items.

    python -m benchmarks.blend --data Beauty.txt --model BSARec --loss ce --set '{...}' \
        --teachers 2 --generation 2 --continuation '{"n_copies": 8}'

Takes the backbones and the students that ``benchmarks.run --recipe taught`` with the same words has
kept. Each set of them (backbones, students, all) is blended with rules, by the weights that rank
the validation items best, and stacked (RankStack learns from the validation items); the test items
are ranked by the result alone. Writes results/blend-SET-*.json and stack-SET-*.json, and the ranks
for paired tests.
"""

from __future__ import annotations

from pathlib import Path

import joblib
from sklearn.frozen import FrozenEstimator

from benchmarks.backbones import backbone_name, teaching_backbones
from benchmarks.recipes import blend, stack, student_name
from benchmarks.run import describe, evaluate, load_split, parse, write
from sklearn_dr4sr.baselines import SequentialRules


def members(args, seed: int) -> dict[str, dict[str, str]]:
    """Names of the kept models of each set."""
    teaching = teaching_backbones(args, seed)
    backbones = {member: backbone_name(own, s) for member, (own, s) in teaching.items()}
    students = {f"student{g}": student_name(args, seed, g) for g in range(1, args.generation + 1)}
    return {"backbones": backbones, "students": students, "all": backbones | students}


def load(names: dict[str, str], cache: Path) -> list:
    """Models that were kept, as they were fitted."""
    return [(m, FrozenEstimator(joblib.load(cache / f"{n}.joblib")[0])) for m, n in names.items()]


def main() -> None:
    """Measure the sets that the command line names."""
    args = parse()
    split = load_split(args)
    seed = args.first_seed
    for which, names in members(args, seed).items():
        models = load(names, args.cache)
        makers = {
            "blend": blend([*models, ("rules", SequentialRules())], "auto"),
            "stack": stack(models, seed),
        }
        for kind, untrained in makers.items():
            ranker = untrained.fit(split.train, split.validation)
            record = {"members": list(names.values()), "data": args.name, "seed": seed}
            if kind == "blend":
                record["weights"] = dict(
                    zip(ranker.named_estimators_, ranker.weights_.tolist(), strict=True)
                )
            record["test"], rank = evaluate(ranker, split)
            record |= describe(args)
            record["command"] = record["command"].replace("benchmarks.run", "benchmarks.blend")
            name = f"{kind}-{which}-{student_name(args, seed, args.generation)}"
            write(args.results, name, record, rank)


if __name__ == "__main__":
    main()
