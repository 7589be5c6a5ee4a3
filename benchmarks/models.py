"""Each model's epoch beside a plain padded loop of the same model, and its full ranking.

    python -m benchmarks.models --data Beauty.txt
    python -m benchmarks.models --data Beauty.txt --models BSARec GNN --steps 10 --repeats 3

The plain loop is what one writes first: every row padded to ``max_length``, batches of as many
rows, torch's own dropout and default Adam, the loss by its textbook formula; the last layer at
every position for FMLP, a sparse COO product for GNN, a Python loop over rows for CL4SRec's views.
Both train the same module in turn, epoch by epoch of ``--steps`` optimizer steps. Medians of wall
and CPU seconds, scaled to an epoch over the data; ``--write`` keeps them in results/.
"""

import argparse
import datetime
import json
import platform
import random
import sys
import time
from pathlib import Path

import numpy as np
import torch
from skorch.callbacks import Callback
from torch.nn import functional as F

from sklearn_dr4sr import SequenceDataset
from sklearn_dr4sr._torch import isolated
from sklearn_dr4sr.datasets import load_sequences
from sklearn_dr4sr.model_selection import leave_one_out
from sklearn_dr4sr.recommenders import FMLP, GNN, BSARec, CL4SRec, GRU4Rec, SASRec
from sklearn_dr4sr.recommenders.cl4srec import info_nce

RESULTS = Path(__file__).parent / "results"
#: Estimator, and what the plain loop's module has otherwise.
MODELS = {
    "SASRec": (SASRec, {}),
    "GRU4Rec": (GRU4Rec, {}),
    "FMLP": (FMLP, {"mode": "prefix"}),
    "FMLP, every layer at every position": (lambda **p: FMLP(mode="prefix", **p), {}),
    "FMLP, causal": (lambda **p: FMLP(mode="causal", **p), {}),
    "GNN": (GNN, {}),
    "CL4SRec": (CL4SRec, {}),
    "BSARec": (BSARec, {}),
}


class Clock(Callback):
    """Wall and CPU seconds of each epoch."""

    def __init__(self):
        self.epochs = []

    def on_epoch_begin(self, net, **kwargs):
        self.start = np.array([time.perf_counter(), time.process_time()])

    def on_epoch_end(self, net, **kwargs):
        now = np.array([time.perf_counter(), time.process_time()])
        self.epochs.append(now - self.start)


def command_line(module):
    """What was typed, without folders."""
    words = (word.rpartition("/")[2] for word in sys.argv[1:])
    return " ".join([f"python -m benchmarks.{module}", *words])


def with_torchs_dropout(module):
    """Put torch's own dropout where this package has its own."""
    for layer in list(module.modules()):
        for name, child in layer.named_children():
            if isinstance(child, torch.nn.Dropout):
                setattr(layer, name, torch.nn.Dropout(child.p))
    return module


class PlainLoop:
    """Padded training of the module of an estimator."""

    def __init__(self, estimator, sequences, otherwise):
        self.estimator = estimator
        self.n_items = len(sequences.items)
        parameters = estimator._module_parameters(SequenceDataset(sequences))
        self.module = with_torchs_dropout(estimator._module(**{**parameters, **otherwise})).train()
        if isinstance(estimator, GNN):
            self.smooth_by_coo_products()
        rows = sequences[np.flatnonzero(sequences.lengths >= 2)].last(estimator.max_length + 1)
        table = torch.from_numpy(rows.padded(estimator.max_length + 1, fill=self.n_items))
        self.lengths = torch.from_numpy(rows.lengths - 1)
        inside = torch.arange(estimator.max_length) < self.lengths[:, None]
        self.inputs = table[:, :-1].masked_fill(~inside, self.n_items)
        self.targets = table[:, 1:].masked_fill(~inside, -1)
        self.optimizer = torch.optim.Adam(
            self.module.parameters(), lr=estimator.lr, weight_decay=estimator.weight_decay
        )

    def epoch(self, steps):
        """Take ``steps`` optimizer steps."""
        for _ in range(steps):
            rows = torch.randperm(len(self.inputs))[: self.estimator.batch_size]
            ids, lengths, targets = self.inputs[rows], self.lengths[rows], self.targets[rows]
            self.optimizer.zero_grad()
            states = self.module.encode(ids, lengths)  # (batch, max_length, dim)
            loss = self.next_item_loss(states[targets >= 0], targets[targets >= 0], ids)
            if isinstance(self.estimator, CL4SRec):
                loss = loss + self.contrast(ids, lengths)
            loss.backward()
            self.optimizer.step()

    def next_item_loss(self, states, targets, ids):
        items = self.module.item_embedding.weight[: self.n_items]
        if self.estimator.loss == "ce":
            return F.cross_entropy(states @ items.T, targets)
        negatives = torch.randint(self.n_items, targets.shape)
        positive, negative = ((states * items[i]).sum(-1) for i in (targets, negatives))
        return (F.softplus(-positive) + F.softplus(negative)).mean()

    def smooth_by_coo_products(self):
        module, graph = self.module, self.module.adjacency.tocoo()
        at = torch.from_numpy(np.stack([graph.row, graph.col]))
        values = torch.from_numpy(graph.data)
        graph = torch.sparse_coo_tensor(at, values, graph.shape, check_invariants=True).coalesce()

        def smoothed_items():
            layers = [module.item_embedding.weight[: self.n_items]]
            for _ in range(module.graph_layers):
                layers.append(torch.sparse.mm(graph, layers[-1]))
            smooth = torch.stack(layers).mean(dim=0)
            return torch.cat([smooth, module.item_embedding.weight[self.n_items :]])

        module.smoothed_items = smoothed_items

    def contrast(self, ids, lengths):
        rows = [row[:n] for row, n in zip(ids.tolist(), lengths.tolist(), strict=True) if n >= 2]
        pooled = []
        for _ in range(2):
            views = [self.view(row) for row in rows]
            table = torch.full((len(views), self.estimator.max_length), self.n_items)
            for row, view in zip(table, views, strict=True):
                row[: len(view)] = torch.tensor(view)
            lengths = torch.tensor([len(view) for view in views])
            inside = torch.arange(table.shape[1]) < lengths[:, None]
            states = self.module.encode(table, lengths) * inside[:, :, None]
            pooled.append(states.sum(dim=1) / lengths[:, None])
        return self.estimator.contrast_weight * info_nce(*pooled, self.estimator.temperature)

    def view(self, row):
        operator = random.choice(("crop", "mask", "reorder"))
        count = int(getattr(self.estimator, operator) * len(row))
        if operator == "mask":
            masked = set(random.sample(range(len(row)), count))
            return [self.n_items + 1 if t in masked else item for t, item in enumerate(row)]
        count = max(count, 1) if operator == "crop" else count
        start = random.randrange(len(row) - count + 1)
        run = row[start : start + count]
        if operator == "crop":
            return run
        return row[:start] + random.sample(run, count) + row[start + count :]


def measure(name, split, args):
    make, otherwise = MODELS[name]
    clock = Clock()
    parameters = {} if args.loss is None else {"loss": args.loss}
    estimator = make(
        max_epochs=1, steps_per_epoch=args.steps, callbacks=[clock], device="cpu", random_state=0,
        **parameters,
    )  # fmt: skip
    plain = PlainLoop(estimator, split.train, otherwise)
    theirs = Clock()
    for _ in range(args.repeats + 1):
        estimator.set_params(callbacks=[clock]).fit(split.train)
        theirs.on_epoch_begin(None)
        isolated(lambda: plain.epoch(args.steps), seed=0, device=torch.device("cpu"))
        theirs.on_epoch_end(None)
    steps = -(-len(plain.inputs) // estimator.batch_size)
    ours, other = (
        np.median(np.array(c.epochs[1:]), axis=0) * steps / args.steps for c in (clock, theirs)
    )  # the first warms up
    ranking = []
    for _ in range(args.repeats):
        start = np.array([time.perf_counter(), time.process_time()])
        estimator.predict(split.history, k=20)
        ranking.append(np.array([time.perf_counter(), time.process_time()]) - start)
    rank = np.median(ranking, axis=0)
    return {
        "model": name,
        "loss": estimator.loss,
        "epoch_s": round(float(ours[0]), 2),
        "epoch_cpu_s": round(float(ours[1]), 2),
        "plain_epoch_s": round(float(other[0]), 2),
        "plain_epoch_cpu_s": round(float(other[1]), 2),
        "ratio_of_cpu_seconds": round(float(other[1] / ours[1]), 2),
        "ranking_s": round(float(rank[0]), 2),
        "ranking_cpu_s": round(float(rank[1]), 2),
    }


class Profiler(Callback):
    """Print where the time of a fit goes, by operator (started in the thread that trains)."""

    def on_train_begin(self, net, *args, **kwargs):
        self.profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])
        self.profiler.start()

    def on_train_end(self, net, *args, **kwargs):
        self.profiler.stop()
        print(self.profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=15))


def profile(name, split, args):
    make, _ = MODELS[name]
    parameters = {} if args.loss is None else {"loss": args.loss}
    estimator = make(max_epochs=1, steps_per_epoch=args.steps, device="cpu", **parameters)
    estimator.fit(split.train)  # warms up
    estimator.set_params(callbacks=[Profiler()]).fit(split.train)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--loss", help="default: each model's own")
    parser.add_argument("--steps", type=int, default=30, help="optimizer steps of an epoch")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, help="default: torch's choice")
    parser.add_argument("--profile", action="store_true", help="print operators instead")
    parser.add_argument("--write", action="store_true", help="keep the table in results/")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    split = leave_one_out(load_sequences(args.data))
    table = []
    for name in args.models:
        if args.profile:
            profile(name, split, args)
            continue
        table.append(measure(name, split, args))
        print(json.dumps(table[-1]), flush=True)
    if args.write and table:
        record = {
            "command": command_line("models"),
            "date": datetime.date.today().isoformat(),
            "data": Path(args.data).stem,
            "machine": f"{platform.machine()}, {torch.get_num_threads()} torch threads",
            "torch": torch.__version__,
            "steps": args.steps,
            "repeats": args.repeats,
            "models": table,
        }
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "models.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
