"""DatasetRegenerator: what it costs, what each speed lever saves, and what gamma buys.

    python -m benchmarks.regeneration --data Beauty.txt [--fitted cache/Beauty-w5-K5-s0.joblib]

``--fitted``: the regenerator that ``benchmarks.run --recipe dr4sr`` has trained and kept.
Writes results/regeneration-NAME.json and results/regeneration-NAME.md beside this file, with
``--levers`` regeneration-levers-NAME.json alone: what the levers save, after ``--epochs``.
Plausibility is the mean log-likelihood of a pattern's transitions under a Markov model of the other
users: what the pattern's own user did is taken out of the counts, so copying a history earns
nothing. It stands beside that of real transitions, counted the same way, and of random ones.
"""

import argparse
import datetime
import json
import os
import platform
import tempfile
import time
from pathlib import Path

import joblib
import numpy as np
import sklearn
import torch
from scipy import sparse
from sklearn.base import clone
from torch.nn import functional

import sklearn_dr4sr
from benchmarks.models import command_line, with_torchs_dropout
from benchmarks.run import data_name
from sklearn_dr4sr import DatasetRegenerator, PatternMiner
from sklearn_dr4sr._torch import isolated
from sklearn_dr4sr.datasets import load_sequences
from sklearn_dr4sr.model_selection import leave_one_out
from sklearn_dr4sr.regeneration.assembly import mined_patterns
from sklearn_dr4sr.regeneration.decoding import decode
from sklearn_dr4sr.regeneration.network import Regenerator
from sklearn_dr4sr.regeneration.pairs import PairBatches, Pairs, source_tokens
from sklearn_dr4sr.regeneration.pretraining import loss_terms

RESULTS = Path(__file__).parent / "results"
GAMMAS = (0.0, 0.1, 0.3, 0.5, 1.0)
SMOOTHING = 5.0


class Plausibility:
    """Log-likelihood of transitions a -> b of a user under the other users' smoothed counts.

    log((C_ab + 5 q_b) / (C_a + 5)), C_ab the number of times that b follows a at gap 1, plus half
    of those at gap 2, q_b the share of b among all interactions.
    """

    def __init__(self, histories):
        self.n_items = len(histories.items)
        user, item = histories.rows, histories.codes.astype(np.int64)
        parts = []
        for gap in (1, 2):
            at = np.flatnonzero(user[gap:] == user[:-gap])
            parts.append((user[at], item[at], item[at + gap], np.full(len(at), 1 / gap)))
        self.user, source, target, weight = (np.concatenate(c) for c in zip(*parts, strict=True))
        shape = (self.n_items, self.n_items)
        self.counts = sparse.csr_matrix((weight, (source, target)), shape=shape)
        self.totals = np.asarray(self.counts.sum(1)).ravel()
        self.own, which = np.unique(self._key(self.user, source, target), return_inverse=True)
        self.own_weight = np.bincount(which, weight)
        per_user, which = np.unique(self.user * self.n_items + source, return_inverse=True)
        self.own_from, self.own_from_weight = per_user, np.bincount(which, weight)
        self.popularity = np.bincount(item, minlength=self.n_items) / len(item)
        self.item = item

    def _key(self, user, source, target):
        return (user * self.n_items + source) * self.n_items + target

    def __call__(self, user, source, target):
        """Mean log-likelihood, and the share of transitions that another user made."""
        if len(user) == 0:
            return None, None
        own = _look_up(self.own, self.own_weight, self._key(user, source, target))
        own_from = _look_up(self.own_from, self.own_from_weight, user * self.n_items + source)
        others = np.asarray(self.counts[source, target]).ravel() - own
        total = self.totals[source] - own_from
        likelihood = (others + SMOOTHING * self.popularity[target]) / (total + SMOOTHING)
        return round(float(np.log(likelihood).mean()), 3), round(float((others > 1e-9).mean()), 4)


def _look_up(keys, values, wanted):
    at = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
    return np.where(keys[at] == wanted, values[at], 0.0)


def transitions(sequences, row):
    """(user, item, next item) of all neighbours in the sequences."""
    of, item = sequences.rows, sequences.codes.astype(np.int64)
    at = np.flatnonzero(of[1:] == of[:-1])
    return row[of[at]], item[at], item[at + 1]


def sweep(fitted, data, histories, plausible):
    """X' for each gamma: diversity, novelty, plausibility, decoding time."""
    table = []
    items = fitted.items_
    seen = np.unique(histories.rows * len(items) + histories.codes)
    for gamma in GAMMAS:
        fitted.set_params(generative_probability=gamma)
        started, cpu = time.perf_counter(), time.process_time()
        made = fitted.transform(data)
        part = made.table[made.origin == "regenerated"]
        wall, cpu = time.perf_counter() - started, time.process_time() - cpu
        patterns = part.sequences.recode(items)
        user, source, target = transitions(patterns, part.source)
        new = _look_up(seen, np.ones(len(seen)), user * len(items) + target) == 0
        outside = (
            _look_up(
                seen, np.ones(len(seen)), part.source[patterns.rows] * len(items) + patterns.codes
            )
            == 0
        )
        likelihood, known = plausible(user, source, target)
        report = {k: v for k, v in fitted.report_.items() if not k.startswith("memory_usage")}
        table.append(
            {
                "gamma": gamma,
                **report,
                "mean_length": float(patterns.lengths.mean()) if len(patterns) else None,
                "items_outside_the_source": float(outside.mean()) if len(outside) else None,
                "log_likelihood": likelihood,
                "made_by_another_user": known,
                "log_likelihood_into_new_items": plausible(user[new], source[new], target[new])[0],
                "seconds": round(wall, 1),
                "cpu_seconds": round(cpu, 1),
            }
        )
        print(table[-1], flush=True)
    return table


def plain_training_step(module, batch, padded):
    """A pair at a time encoded, sources padded to the end, the whole vocabulary scored.

    The published loop pads the patterns too; ``padded=False`` leaves that out.
    """

    def pad(tokens, length):
        return functional.pad(tokens, (0, length - tokens.shape[1]), value=module.pad)

    source = pad(batch.source[batch.row], module.max_length + 2)
    pattern = pad(batch.pattern, module.max_pattern_length + 2) if padded else batch.pattern
    inputs, targets = pattern[:, :-1], pattern[:, 1:]
    memories, mask = module.encode(source)
    pi = module.choose(pattern).exp()
    final = torch.einsum("pk,plkd->pld", pi, memories)
    states, _ = module.decode(inputs, final, mask)
    scores = states @ module.embedding.weight.T
    allowed = torch.zeros(len(source), len(module.embedding.weight), dtype=torch.bool)
    allowed.scatter_(1, source[:, 1:], True)
    scores = scores.masked_fill(~allowed[:, None], -torch.inf)
    return functional.cross_entropy(
        scores.flatten(0, 1), targets.flatten(), ignore_index=module.pad
    )


def plain_decoding(module, histories):
    """A pattern at a time, from its beginning at every token, the whole vocabulary masked."""
    for history in range(len(histories)):
        codes = histories.codes[histories.offsets[history] : histories.offsets[history + 1]]
        tokens, candidates = source_tokens(codes[None].astype(np.int64), module.eos)
        for k in range(module.n_memories):
            pattern = [module.sos]
            while len(pattern) <= module.max_pattern_length:
                memories, mask = module.encode(tokens)
                memory = memories[:, :, k]
                states, _ = module.decode(torch.tensor([pattern]), memory, mask)
                scores = states[0, -1] @ module.embedding.weight.T
                closed = torch.ones(len(scores), dtype=torch.bool)
                closed[candidates[0]] = False
                closed[[module.sos, module.pad, *pattern]] = True
                token = int(scores.masked_fill(closed, -torch.inf).argmax())
                if token == module.eos:
                    break
                pattern.append(token)


def levers(fitted, data, n_batches=8, n_rows=100):
    """CPU seconds of this package's loops and of plain ones, in turn, on the same work."""
    items, mined = fitted.items_, mined_patterns(data)
    histories = data.histories.recode(items).last(50)
    pairs = Pairs(histories, mined.sequences.recode(items), mined.source)
    module, plain = Regenerator(len(items)), with_torchs_dropout(Regenerator(len(items)))

    def cost(module, step, batches):
        module.train()
        optimizer = torch.optim.Adam(module.parameters(), fused=True)
        started = time.process_time()
        for batch in batches:
            optimizer.zero_grad()
            step(module, batch).backward()
            optimizer.step()
        return time.process_time() - started

    def train():
        batches = list(PairBatches(pairs, 256, 10, 0.0, seed=0))
        some = batches[:: max(1, len(batches) // n_batches)]
        share = sum(len(b.row) for b in some) / sum(len(b.row) for b in batches)
        steps = {
            "epoch": (module, lambda m, b: loss_terms(m, b)["reconstruction"]),
            "plain_epoch": (plain, lambda m, b: plain_training_step(m, b, padded=True)),
            "plain_epoch_short_patterns": (
                plain,
                lambda m, b: plain_training_step(m, b, padded=False),
            ),
        }
        return {name: cost(*step, some) / share for name, step in steps.items()}

    def generate():
        trained = fitted.net_.module_
        rows = np.random.default_rng(0).permutation(len(histories))
        started = time.process_time()
        decode(trained, histories, generative_probability=0.0)
        ours = time.process_time() - started
        started = time.process_time()
        with torch.inference_mode():
            plain_decoding(trained, histories[rows[:n_rows]].last(trained.max_length))
        plain = time.process_time() - started
        return ours, plain * len(histories) / n_rows

    device = torch.device("cpu")
    epochs = isolated(train, seed=0, device=device)
    decoding, plain_decode = isolated(generate, seed=0, device=device)
    return {
        **{f"{name}_cpu_seconds": round(seconds, 1) for name, seconds in epochs.items()},
        "epoch_ratio": round(epochs["plain_epoch"] / epochs["epoch"], 1),
        "epoch_ratio_short_patterns": round(
            epochs["plain_epoch_short_patterns"] / epochs["epoch"], 1
        ),
        "decoding_cpu_seconds": round(decoding, 1),
        "plain_decoding_cpu_seconds": round(plain_decode, 1),
        "decoding_ratio": round(plain_decode / decoding, 1),
        "measured_on": f"{n_batches} batches in restrictive mode, {n_rows} rows one by one",
    }


def pretrain(regenerator, data):
    """Fit once and, as a grid over gamma does, once more for each gamma from the memory."""
    with tempfile.TemporaryDirectory() as cache:
        cached = clone(regenerator).set_params(memory=cache)
        started, cpu = time.perf_counter(), time.process_time()
        fitted = clone(cached).fit(data)
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        started = time.perf_counter()
        for gamma in GAMMAS:
            clone(cached).set_params(generative_probability=gamma).fit(data)
        refits = time.perf_counter() - started
    return fitted, {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu, 1),
        "five_refits_seconds": round(refits, 2),
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--name", help="data set's name; default: from the file")
    parser.add_argument("--window", type=int, help="PatternMiner's; default: 5, Toys 10")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--rows", type=int, help="only the first rows (a trial run)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--item-embedding", default="sasrec", choices=("sasrec", "random"))
    parser.add_argument("--fitted", type=Path, help="what benchmarks.run has kept in its cache")
    parser.add_argument("--levers", action="store_true", help="nothing but the speed levers")
    args = parser.parse_args()
    name = args.name or data_name(args.data)
    window = args.window or (10 if name == "Toys" else 5)
    sequences = leave_one_out(load_sequences(args.data)).train
    if args.rows:
        sequences = sequences[: args.rows].compact()
    data = PatternMiner(window_size=window, min_support=2).fit_transform(sequences)
    data.table  # noqa: B018  (mined now, so that it is not counted below)

    if args.fitted:
        fitted, seconds = joblib.load(args.fitted)
        regenerator, cost = fitted, {"seconds": seconds}
    else:
        regenerator = DatasetRegenerator(
            item_embedding=args.item_embedding,
            max_epochs=args.epochs,
            random_state=args.seed,
            verbose=1,
        )
        fitted, cost = pretrain(regenerator, data)
    record = {
        "data": name,
        "window_size": window,
        "rows": len(sequences),
        "epochs": len(fitted.history_),
        "levers": levers(fitted, data),
        **describe(regenerator, args.seed),
    }
    RESULTS.mkdir(exist_ok=True)
    if args.levers:
        path = RESULTS / f"regeneration-levers-{name}.json"
        path.write_text(json.dumps(record, indent=1) + "\n")
        return
    record |= quality(fitted, data, cost, args.seed)
    (RESULTS / f"regeneration-{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    (RESULTS / f"regeneration-{name}.md").write_text(as_markdown(record))


def quality(fitted, data, cost, seed):
    """What each gamma makes, beside real and random transitions, and what it costs."""
    histories = data.histories.recode(fitted.items_)
    plausible = Plausibility(histories)
    user, source, target = transitions(histories, np.arange(len(histories)))
    shuffled = np.random.default_rng(seed).permutation(target)
    table = sweep(fitted, data, histories, plausible)
    decoding = sum(line["seconds"] for line in table)
    durations = [epoch["dur"] for epoch in fitted.history_]
    return {
        "pretraining": {
            **cost,
            "epoch_seconds_median": round(float(np.median(durations)), 2),
            "embedding_seconds": round(cost["seconds"] - sum(durations), 1),
            "losses": [
                {k: round(float(v), 4) for k, v in epoch.items()} for epoch in fitted.history_
            ],
        },
        "memory_usage": [round(share, 4) for share in fitted.report_["memory_usage"]],
        "memory_usage_entropy": round(fitted.report_["memory_usage_entropy"], 4),
        "gammas": table,
        "log_likelihood_real": plausible(user, source, target),
        "log_likelihood_random": plausible(user, source, shuffled),
        "five_gammas": {
            "decoding_seconds": round(decoding, 1),
            "in_pretrainings": round(
                1 + (cost.get("five_refits_seconds", 0) + decoding) / cost["seconds"], 3
            ),
        },
    }


def describe(regenerator, seed):
    """What a reader needs to run it again."""
    return {
        "command": command_line("regeneration"),
        "seed": seed,
        "date": datetime.date.today().isoformat(),
        "versions": {
            "sklearn_dr4sr": sklearn_dr4sr.__version__,
            "torch": torch.__version__,
            "scikit-learn": sklearn.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "cores": os.cpu_count(),
        "load_average": [round(v, 1) for v in os.getloadavg()],
        "parameters": {
            k: v for k, v in regenerator.get_params().items() if k not in ("memory", "callbacks")
        },
    }


def as_markdown(record):
    pre, five, lever = record["pretraining"], record["five_gammas"], record["levers"]
    columns = (
        "gamma",
        "n_decoded",
        "n_unique",
        "n_new",
        "unique_per_decode",
        "share_already_mined",
        "items_outside_the_source",
        "log_likelihood",
        "log_likelihood_into_new_items",
        "made_by_another_user",
        "seconds",
    )
    lines = [
        f"# Regeneration of {record['data']} ({record['date']}, seed {record['seed']})",
        "",
        f"`{record['command']}`, {record['cores']} cores, load {record['load_average'][0]}, "
        f"torch {record['versions']['torch']}.",
        "",
        f"Pre-training: {pre['seconds']} s, of that the item "
        f"embedding {pre['embedding_seconds']} s; median epoch {pre['epoch_seconds_median']} s. "
        f"Last epoch: restrictive {pre['losses'][-1]['restrictive']}, generative "
        f"{pre['losses'][-1]['generative']} nats a token.",
        f"Share of the pairs that choose each memory: {record['memory_usage']} (entropy "
        f"{record['memory_usage_entropy']} of {np.log(len(record['memory_usage'])):.4f}).",
        f"Five gammas cost {five['in_pretrainings']} pre-trainings (decoding included).",
        f"Speed levers, CPU seconds: epoch {lever['epoch_cpu_seconds']} against "
        f"{lever['plain_epoch_cpu_seconds']} ({lever['epoch_ratio']}x); decoding "
        f"{lever['decoding_cpu_seconds']} against {lever['plain_decoding_cpu_seconds']} "
        f"({lever['decoding_ratio']}x); {lever['measured_on']}. The plain epoch pads sources and "
        f"patterns to the end, as the published one; with short patterns "
        f"{lever['plain_epoch_short_patterns_cpu_seconds']} "
        f"({lever['epoch_ratio_short_patterns']}x).",
        "",
        "| " + " | ".join(column.replace("_", " ") for column in columns) + " |",
        "|" + "---|" * len(columns),
    ]
    for row in record["gammas"]:
        cells = [f"{row[c]:.4g}" if row[c] is not None else "" for c in columns]
        lines.append("| " + " | ".join(cells) + " |")
    real, random = record["log_likelihood_real"], record["log_likelihood_random"]
    lines += [
        "",
        "Log-likelihood under the other users' Markov model: "
        f"real transitions {real[0]} ({real[1]:.1%} made by another user), "
        f"the same with shuffled targets {random[0]} ({random[1]:.1%}).",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
