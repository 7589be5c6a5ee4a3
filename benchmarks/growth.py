"""Growth of each stage with the number of sequences and with the catalogue: time and peak memory.

    python -m benchmarks.growth                       # all stages; writes results/growth.*
    python -m benchmarks.growth --stages rank mine    # these anew, the others as they stand
    python -m benchmarks.growth --device cuda         # by the clock; writes results/growth-cuda.*

Made sequences of mean length 10, in shops of 10,000 rows with a catalogue of 1,000 of their own
(so that ten times the rows hold ten times the patterns); where the catalogue grows, each row draws
its items from all of it. Every point is a process of its own: CPU seconds of the stage, which other
work on the machine disturbs least, and the peak memory of the process with and without it. The aim
is a log-log slope of at most 1.05.
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
from sklearn_dr4sr.dataset import ORIGINS
from sklearn_dr4sr.datasets import make_sequences
from sklearn_dr4sr.recommenders import SASRec

RESULTS = Path(__file__).parent / "results"
LIMIT = 12 * 1024**3  # bytes that a point may take
TARGET = 1.05  # log-log slope, at most


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


def rows_of_all_items(sequences: Sequences, n_rows: int) -> np.ndarray:
    """Rows in which every item occurs, and others at random up to so many."""
    first = np.unique(sequences.rows[np.unique(sequences.codes, return_index=True)[1]])
    others = np.setdiff1d(np.arange(len(sequences)), first)
    others = np.random.default_rng(0).permutation(others)[: max(0, n_rows - len(first))]
    return np.sort(np.concatenate([first, others]))


def read(sequences: Sequences, device: str):
    """Lists of ids become Sequences."""
    rows = list(sequences)
    return lambda: Sequences(rows)


def mine(sequences: Sequences, device: str):
    """Mine with window 5 and support 2."""
    return lambda: PatternMiner(window_size=5).fit(sequences)


def match(sequences: Sequences, device: str):
    """Give each row its mined patterns: what the regenerator is trained on."""
    miner = PatternMiner(window_size=5).fit(sequences)
    return lambda: miner.transform(sequences).table


def regenerate(sequences: Sequences, device: str):
    """Decode each row from K = 5 memories; a network of one epoch on 10,000 rows decodes alike."""
    data = PatternMiner(window_size=5).fit_transform(sequences)
    regenerator = DatasetRegenerator(
        item_embedding="random", max_epochs=1, random_state=0, device=device
    )
    regenerator.fit(data[rows_of_all_items(sequences, 10_000)])
    assert len(regenerator.items_) == len(sequences.items), "an item is unknown"

    def decode():
        table = regenerator.transform(sequences).table
        rows = table.source[table.origin == ORIGINS.index("regenerated")]
        assert rows.max(initial=0) >= len(sequences) - 10_000, "the last shop has no patterns"

    return decode


def sasrec(device: str) -> SASRec:
    """What is trained and ranked by: one negative a step, one epoch."""
    return SASRec(loss="bce", max_epochs=1, random_state=0, device=device)


def epoch(sequences: Sequences, device: str):
    """Train SASRec for an epoch with one negative a step."""
    return lambda: sasrec(device).fit(sequences)


def rank(sequences: Sequences, device: str):
    """The 20 best of the whole catalogue by SASRec for each row."""
    few = sequences[:10_000] if len(sequences.items) <= 10_000 else sequences
    model = sasrec(device).fit(few)
    return lambda: model.predict(sequences, k=20)


def rank_some(sequences: Sequences, device: str):
    """The same for 1,000 rows."""
    model = sasrec(device).fit(sequences)
    return lambda: model.predict(sequences[:1000], k=20)


def rules(sequences: Sequences, device: str):
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


def measure(stage: str, n_rows: int, n_items: int, device: str) -> dict:
    """One point, in a process of its own."""
    warnings.simplefilter("ignore")
    if device == "cpu":  # a GPU's driver maps more than there is
        resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))
    prepare, make, _, _ = STAGES[stage]
    work = prepare(make(n_rows, n_items), device)
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


def clock_of(device: str) -> str:
    """What is compared: processor time, or by the clock what a device does."""
    return "cpu_seconds" if device == "cpu" else "seconds"


def point(stage: str, n_rows: int, n_items: int, device: str) -> dict:
    """Measure, or tell how it failed: memory may not suffice for the largest points."""
    command = [sys.executable, "-m", "benchmarks.growth", "--device", device, "--one", stage]
    done = subprocess.run([*command, str(n_rows), str(n_items)], capture_output=True, text=True)
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    said = done.stderr.strip().splitlines() or [f"ended by signal {-done.returncode}"]
    return {"rows": n_rows, "items": n_items, "failed": said[-1][:200].replace("|", "/")}


def grow(stage: str, device: str) -> dict:
    """All points of a stage, and the slope of its seconds in logarithms."""
    _, _, points, grows = STAGES[stage]
    lines = []
    for n_rows, n_items in points:
        lines.append(point(stage, n_rows, n_items, device))
        print(stage, lines[-1], flush=True)
    found = {"date": datetime.date.today().isoformat(), "cpu": cpu_name(), "grows": grows}
    return {**found, **slopes(lines, grows, clock_of(device)), "lines": lines}


def slopes(lines: list[dict], grows: str, clock: str) -> dict:
    """Log-log slope over all points that were measured, and over the last two."""
    whole = [line for line in lines if "failed" not in line]
    if len(whole) < 2:
        return {}
    size, seconds = (np.log([line[key] for line in whole]) for key in (grows, clock))
    last = (seconds[-1] - seconds[-2]) / (size[-1] - size[-2])
    return {"slope": round(np.polyfit(size, seconds, 1)[0], 3), "last_slope": round(last, 3)}


def verdict(stages: dict) -> str:
    """Which stages grow faster than they should, and which points failed."""
    over = [
        f"{stage} ({found['slope']:.2f})"
        for stage, found in stages.items()
        if found.get("slope", 0) > TARGET
    ]
    failed = [
        f"{stage} at {x['rows']:,} rows and {x['items']:,} items"
        for stage, found in stages.items()
        for x in found["lines"]
        if "failed" in x
    ]
    missing = [stage for stage in STAGES if stage not in stages]
    text = f"Slopes above {TARGET}: {'; '.join(over) or 'none'}."
    text += f" Failed: {'; '.join(failed)}." if failed else ""
    return text + (f" Not measured: {'; '.join(missing)}." if missing else "")


def as_markdown(report: dict, name: str) -> str:
    """Tables of all stages."""
    clock = clock_of(report.get("device", "cpu"))
    lines = [
        "# Growth",
        "",
        f"`{report['command']}`",
        "",
        *__doc__.split("\n\n")[-1].strip().splitlines(),
        "",
        verdict(report["stages"]),
        "",
        f"| stage | rows | items | {clock.replace('cpu_', 'CPU ')} | peak, MB "
        "| without the stage, MB |",
        "|---|---|---|---|---|---|",
    ]
    for stage, found in report["stages"].items():
        for x in found["lines"]:
            measured = f"failed: {x['failed']} | | " if "failed" in x else ""
            measured = measured or f"{x[clock]:.2f} | {x['peak_mb']:,} | {x['peak_mb_before']:,}"
            lines.append(f"| {stage} | {x['rows']:,} | {x['items']:,} | {measured} |")
        if "slope" in found:
            both = f"{found['slope']:.2f} (last step {found['last_slope']:.2f})"
            measured = f"{found['cpu']}, {found['date']}"
            lines.append(f"| log-log slope in {found['grows']}; {measured} | | | {both} | | |")
    return "\n".join([*lines, "", f"![growth]({name}.png)", ""])


def draw(report: dict, path: Path) -> None:
    """Seconds and peak memory over size, both logarithmic."""
    from matplotlib.figure import Figure

    clock = clock_of(report.get("device", "cpu"))
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    axes = figure.subplots(1, 2)
    for (stage, found), marker in zip(report["stages"].items(), "osv^D<>PX", strict=False):
        style = "-" if found["grows"] == "rows" else "--"
        whole = [x for x in found["lines"] if "failed" not in x]
        size = [x[found["grows"]] for x in whole]
        for ax, key in zip(axes, (clock, "peak_mb"), strict=True):
            ax.loglog(size, [x[key] for x in whole], style, marker=marker, label=stage)
    axes[0].set(xlabel="rows (dashed: items)", ylabel=clock.replace("cpu_", "CPU "))
    axes[1].set(xlabel="rows (dashed: items)", ylabel="peak memory of the process, MB")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right", fontsize="small")
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure what the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stages", nargs="+", choices=sorted(STAGES), default=list(STAGES))
    parser.add_argument("--device", default="cpu", help="of the models")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        stage, *size = args.one
        print(json.dumps(measure(stage, *map(int, size), args.device)))
        return
    options = [] if args.device == "cpu" else ["--device", args.device]
    name = "-".join(["growth", *options[1:]])
    stored = RESULTS / f"{name}.json"
    stages = json.loads(stored.read_text())["stages"] if stored.exists() else {}
    for stage in args.stages:
        stages[stage] = grow(stage, args.device)
        report = {
            "command": " ".join(["python -m benchmarks.growth", *options]),
            "device": args.device,
            "stages": {known: stages[known] for known in STAGES if known in stages},
        }
        stored.write_text(json.dumps(report, indent=1) + "\n")
        (RESULTS / f"{name}.md").write_text(as_markdown(report, name))
        draw(report, RESULTS / f"{name}.png")


if __name__ == "__main__":
    main()
