"""Growth of each stage with the number of sequences and with the catalogue: time and peak memory.

    python -m benchmarks.growth                       # all stages; writes results/growth.*
    python -m benchmarks.growth --stages rank mine    # these anew, the others as they stand

Made sequences of mean length 10, in shops of 10,000 rows with a catalogue of 1,000 of their own
(so that ten times the rows hold ten times the patterns); where the catalogue grows, each row draws
its items from all of it. Every point is a process of its own: CPU seconds of the stage, which other
work on the machine disturbs least, and the peak memory of the process with and without it.
"""

from __future__ import annotations

import argparse
import datetime
import json
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np

from benchmarks.mining import cpu_clock, cpu_name, peak_mb
from sklearn_dr4sr import DatasetRegenerator, PatternMiner, Sequences
from sklearn_dr4sr.baselines import SequentialRules
from sklearn_dr4sr.datasets import make_sequences
from sklearn_dr4sr.recommenders import SASRec

RESULTS = Path(__file__).parent / "results"
LIMIT = 12 * 1024**3  # bytes that a point may take


def shops(n_sequences: int, n_items: int) -> Sequences:
    """``n_items`` counts for one shop of 10,000 rows: a catalogue of its own for each."""
    made = [
        make_sequences(10_000, n_items, mean_length=10, random_state=seed)
        for seed in range(n_sequences // 10_000)
    ]
    codes = np.concatenate([shop.codes + n_items * i for i, shop in enumerate(made)])
    offsets = np.concatenate([[0], np.cumsum(np.concatenate([shop.lengths for shop in made]))])
    return Sequences.from_codes(codes, offsets, np.arange(1, n_items * len(made) + 1)).compact()


def wide(n_sequences: int, n_items: int) -> Sequences:
    """Ten items a row, drawn from the whole catalogue, each item at least once."""
    rng = np.random.default_rng(0)
    codes = rng.permutation(np.arange(10 * n_sequences) % n_items)
    offsets = np.arange(0, 10 * n_sequences + 1, 10)
    return Sequences.from_codes(codes, offsets, np.arange(1, n_items + 1)).compact()


def read(sequences: Sequences):
    """Lists of ids become Sequences."""
    rows = list(sequences)
    return lambda: Sequences(rows)


def mine(sequences: Sequences):
    """Mine with window 5 and support 2."""
    return lambda: PatternMiner(window_size=5).fit(sequences)


def match(sequences: Sequences):
    """Give each row its mined patterns: what the regenerator is trained on."""
    miner = PatternMiner(window_size=5).fit(sequences)
    return lambda: miner.transform(sequences).table


def regenerate(sequences: Sequences):
    """Decode each row from K = 5 memories; a network of one epoch on 10,000 rows decodes alike."""
    data = PatternMiner(window_size=5).fit_transform(sequences)
    few = data[: min(len(data), 10_000)]
    regenerator = DatasetRegenerator(item_embedding="random", max_epochs=1, random_state=0)
    regenerator.fit(few)
    return lambda: regenerator.transform(sequences).table


def epoch(sequences: Sequences):
    """Train SASRec for an epoch with one negative a step."""
    model = SASRec(loss="bce", max_epochs=1, random_state=0, device="cpu")
    return lambda: model.fit(sequences)


def rank(sequences: Sequences):
    """The 20 best of the whole catalogue by SASRec for each row."""
    model = SASRec(loss="bce", max_epochs=1, random_state=0, device="cpu")
    model.fit(sequences[:10_000]) if len(sequences.items) <= 10_000 else model.fit(sequences)
    return lambda: model.predict(sequences, k=20)


def rank_some(sequences: Sequences):
    """The same for 1,000 rows."""
    model = SASRec(loss="bce", max_epochs=1, random_state=0, device="cpu").fit(sequences)
    return lambda: model.predict(sequences[:1000], k=20)


def rules(sequences: Sequences):
    """Count the rules and rank 1,000 rows by them."""
    return lambda: SequentialRules().fit(sequences).predict(sequences[:1000], k=20)


ROWS, MORE_ROWS = (10_000, 30_000, 100_000), (10_000, 100_000, 1_000_000)
ITEMS = (10_000, 100_000, 1_000_000)
#: Of each stage: what it does, its input, the points (rows, items), and what grows.
STAGES = {
    "read": (read, shops, [(n, 1000) for n in MORE_ROWS], "rows"),
    "mine": (mine, shops, [(n, 1000) for n in MORE_ROWS], "rows"),
    "match": (match, shops, [(n, 1000) for n in ROWS], "rows"),
    "regenerate": (regenerate, shops, [(n, 1000) for n in ROWS], "rows"),
    "epoch": (epoch, shops, [(n, 1000) for n in ROWS], "rows"),
    "rank": (rank, wide, [(n, 10_000) for n in MORE_ROWS], "rows"),
    "epoch, catalogue": (epoch, wide, [(100_000, n) for n in ITEMS], "items"),
    "rank 1,000 rows, catalogue": (rank_some, wide, [(100_000, n) for n in ITEMS], "items"),
    "rules, catalogue": (rules, wide, [(100_000, n) for n in ITEMS], "items"),
}


def measure(stage: str, n_rows: int, n_items: int) -> dict:
    """One point, in a process of its own."""
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))
    prepare, make, _, _ = STAGES[stage]
    work = prepare(make(n_rows, n_items))
    before, wall, cpu = peak_mb(), time.perf_counter(), cpu_clock()
    work()
    return {
        "rows": n_rows,
        "items": n_items,
        "seconds": round(time.perf_counter() - wall, 3),
        "cpu_seconds": round(cpu_clock() - cpu, 3),
        "peak_mb": round(peak_mb()),
        "peak_mb_before": round(before),
    }


def grow(stage: str) -> dict:
    """All points of a stage, and the slope of its CPU seconds in logarithms."""
    _, _, points, grows = STAGES[stage]
    lines = []
    for n_rows, n_items in points:
        command = [sys.executable, "-m", "benchmarks.growth", "--one", stage]
        done = subprocess.run([*command, str(n_rows), str(n_items)], check=True, stdout=-1)
        lines.append(json.loads(done.stdout.splitlines()[-1]))
        print(stage, lines[-1], flush=True)
    size, seconds = ([line[key] for line in lines] for key in (grows, "cpu_seconds"))
    slope = np.polyfit(np.log(size), np.log(seconds), 1)[0]
    last = np.log(seconds[-1] / seconds[-2]) / np.log(size[-1] / size[-2])
    return {"grows": grows, "slope": round(slope, 3), "last_slope": round(last, 3), "lines": lines}


def as_markdown(report: dict) -> str:
    """Tables of all stages."""
    lines = [
        "# Growth",
        "",
        f"{report['cpu']}; {report['date']}; `{report['command']}`",
        "",
        *__doc__.split("\n\n")[-1].strip().splitlines(),
        "",
        "| stage | rows | items | CPU seconds | peak, MB | without the stage, MB |",
        "|---|---|---|---|---|---|",
    ]
    for stage, found in report["stages"].items():
        lines += [
            f"| {stage} | {x['rows']:,} | {x['items']:,} | {x['cpu_seconds']:.2f} "
            f"| {x['peak_mb']:,} | {x['peak_mb_before']:,} |"
            for x in found["lines"]
        ]
        slopes = f"{found['slope']:.2f} (last step {found['last_slope']:.2f})"
        lines.append(f"| log-log slope in {found['grows']} | | | {slopes} | | |")
    return "\n".join([*lines, "", "![growth](growth.png)", ""])


def draw(report: dict, path: Path) -> None:
    """CPU seconds and peak memory over size, both logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    axes = figure.subplots(1, 2)
    for (stage, found), marker in zip(report["stages"].items(), "osv^D<>PX", strict=False):
        style = "-" if found["grows"] == "rows" else "--"
        size = [x[found["grows"]] for x in found["lines"]]
        for ax, key in zip(axes, ("cpu_seconds", "peak_mb"), strict=True):
            ax.loglog(size, [x[key] for x in found["lines"]], style, marker=marker, label=stage)
    axes[0].set(xlabel="rows (dashed: items)", ylabel="CPU seconds")
    axes[1].set(xlabel="rows (dashed: items)", ylabel="peak memory of the process, MB")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right", fontsize="small")
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stages", nargs="+", choices=sorted(STAGES), default=list(STAGES))
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one[0], int(args.one[1]), int(args.one[2]))))
        return
    stored = RESULTS / "growth.json"
    stages = json.loads(stored.read_text())["stages"] if stored.exists() else {}
    for stage in args.stages:
        stages[stage] = grow(stage)
        report = {
            "command": "python -m benchmarks.growth",
            "date": datetime.date.today().isoformat(),
            "cpu": cpu_name(),
            "stages": {name: stages[name] for name in STAGES if name in stages},
        }
        stored.write_text(json.dumps(report, indent=1) + "\n")
        (RESULTS / "growth.md").write_text(as_markdown(report))
    draw(report, RESULTS / "growth.png")


if __name__ == "__main__":
    main()
