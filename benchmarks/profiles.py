"""Where the time of each stage goes: the operations that take most of it.

    python -m benchmarks.profiles --data Beauty.txt                  # writes results/profiles-*.md
    python -m benchmarks.profiles --data Beauty.txt --device cuda    # and the share of the kernels;
                                     # takes minutes: the events of a device are many (--rows)

``torch.profiler`` gives the time inside each operation, without what it calls; what is left is
Python, numpy and scipy, split by ``cProfile`` in a second run into this package, and the rest. On a
device, seconds are those without a profiler and operations have the time of their kernels. The
network of the regenerator has one epoch behind it, which costs what any epoch costs.
"""

from __future__ import annotations

import argparse
import cProfile
import datetime
import pstats
import time
import warnings
from pathlib import Path

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.mining import cpu_name
from benchmarks.run import data_name
from sklearn_dr4sr import DatasetPersonalizer, DatasetRegenerator, PatternMiner, _torch
from sklearn_dr4sr.datasets import load_sequences
from sklearn_dr4sr.model_selection import leave_one_out
from sklearn_dr4sr.recommenders import BSARec, SASRec

RESULTS = Path(__file__).parent / "results"
TOP = 6


def stages(train, window: int, device: str) -> dict:
    """Name of each stage and a function that does it; what it needs is made beforehand."""
    mined = PatternMiner(window_size=window).fit_transform(train)
    mined.table  # noqa: B018  (made here, so that no later stage pays for it)
    regenerator = DatasetRegenerator(
        item_embedding="random", max_epochs=1, random_state=0, device=device
    )
    shared = {"max_epochs": 1, "random_state": 0, "device": device}
    ranker = SASRec(loss="bce", **shared)
    return {
        "mine": lambda: PatternMiner(window_size=window).fit(train),
        "match patterns with rows": lambda: (
            PatternMiner(window_size=window).fit(train).transform(train).table
        ),
        "pre-train an epoch": lambda: regenerator.fit(mined),
        "regenerate, γ = .1": lambda: regenerator.transform(mined).table,
        "SASRec epoch, one negative": lambda: ranker.fit(train),
        "SASRec epoch, cross-entropy": lambda: SASRec(loss="ce", **shared).fit(train),
        "BSARec epoch, cross-entropy": lambda: BSARec(loss="ce", **shared).fit(train),
        "DR4SR+ epoch, one negative": lambda: DatasetPersonalizer(
            SASRec(loss="bce", **shared), warmup_epochs=0, random_state=0
        ).fit(train),
        "rank all rows": lambda: ranker.predict(train, k=20),
    }


def seconds_of(work, device: str) -> float:
    """Seconds until all is done, on a device too."""
    start = time.perf_counter()
    work()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - start


def kernel_seconds(events) -> float:
    """Seconds in which a device computed.

    Left out is what has the same seconds once more: an operation, which has those of its kernels,
    and an annotation, which lasts from its first kernel to its last with the pauses between.
    """
    return sum(
        e.self_device_time_total / 1e6
        for e in events
        if e.device_type != DeviceType.CPU and not e.is_user_annotation
    )


def by_operation(work, device: str) -> tuple[float, float, list[tuple[str, float]]]:
    """Seconds, the kernels' seconds on a device, and the operations with their share."""
    cuda = device.startswith("cuda")
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * cuda
    with profile(activities=activities) as found:
        seconds = seconds_of(work, device)
    if cuda:  # a profiler slows down what starts many small kernels by multiples
        seconds = seconds_of(work, device)
    events = found.key_averages()
    taken = {
        e.key: (e.self_device_time_total if cuda else e.self_cpu_time_total) / 1e6
        for e in events
        if e.device_type == DeviceType.CPU
    }
    best = sorted(taken.items(), key=lambda pair: -pair[1])[:TOP]
    shares = [(name, t / seconds) for name, t in best if t > 0.01 * seconds]
    return seconds, kernel_seconds(events), shares


def by_function(work) -> list[tuple[str, float]]:
    """The Python functions, with their share of the time without what they call."""
    profiler = cProfile.Profile()
    profiler.runcall(work)
    stats = pstats.Stats(profiler)
    best = sorted(stats.stats.items(), key=lambda item: -item[1][2])[:TOP]
    return [
        (f"{Path(file).name}:{name}" if file != "~" else name.strip("<>"), own / stats.total_tt)
        for (file, _, name), (_, _, own, _, _) in best
        if own > 0.01 * stats.total_tt
    ]


def as_text(shares: list[tuple[str, float]]) -> str:
    """One cell of the table."""
    return ", ".join(f"`{name}` {share:.0%}" for name, share in shares)


def main() -> None:
    """Profile each stage twice and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, help="only the first rows")
    parser.add_argument("--window", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    # profilers see one thread, and fits take one of their own
    _torch._in_own_thread = lambda function, seed, device, context: context.run(function)
    torch.set_flush_denormal(True)
    train = leave_one_out(load_sequences(args.data)).train
    if args.rows:
        train = train[: args.rows].compact()
    with profile(activities=[ProfilerActivity.CPU]):
        pass  # the first takes seconds to begin
    where = torch.cuda.get_device_name() if args.device.startswith("cuda") else cpu_name()
    lines = [
        f"# Where the time goes: {args.data.stem}, {len(train):,} rows",
        "",
        f"{where}; {datetime.date.today().isoformat()}; torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads; "
        f"`python -m benchmarks.profiles --data {args.data.name}"
        + (f" --rows {args.rows}" if args.rows else "")
        + f" --device {args.device}`",
        "",
        *(line for line in __doc__.split("\n\n")[-1].strip().splitlines()),
        "",
        "| stage | seconds | in kernels | torch operations | Python functions |",
        "|---|---|---|---|---|",
    ]
    path = RESULTS / f"profiles-{data_name(args.data)}-{args.device.split(':')[0]}.md"
    for name, work in stages(train, args.window, args.device).items():
        seconds, kernels, operations = by_operation(work, args.device)
        share = f"{kernels / seconds:.0%}" if kernels else ""
        lines.append(
            f"| {name} | {seconds:.2f} | {share} | {as_text(operations)} "
            f"| {as_text(by_function(work))} |"
        )
        print(lines[-1], flush=True)
        path.write_text("\n".join(lines) + "\n")  # what is done stays, should a stage be too long


if __name__ == "__main__":
    main()
