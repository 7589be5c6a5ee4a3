"""The models beside SASRec: oracles in numpy, what each promises, and what all have in common."""

import copy
import math
import pickle
from collections import defaultdict

import joblib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erf, expit
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from sklearn_dr4sr import SequenceDataset, Sequences
from sklearn_dr4sr._dropout import Dropout
from sklearn_dr4sr.baselines import EASE, MarkovChain, Popularity, SequentialRules, UserKNN
from sklearn_dr4sr.datasets import make_sequences
from sklearn_dr4sr.metrics import ndcg_at_k
from sklearn_dr4sr.model_selection import LeaveLastOut, leave_one_out
from sklearn_dr4sr.recommenders import (
    FMLP,
    GNN,
    BSARec,
    CL4SRec,
    GRU4Rec,
    RankBlend,
    SASRec,
    SequentialRecommender,
    cl4srec,
    fmlp,
    gnn,
    rank_blend,
)
from sklearn_dr4sr.recommenders.batching import TrainingPatterns
from sklearn_dr4sr.recommenders.bsarec import BSARecModule
from sklearn_dr4sr.recommenders.cl4srec import CL4SRecModule, Originals, augment, info_nce
from sklearn_dr4sr.recommenders.fmlp import FMLPModule
from sklearn_dr4sr.recommenders.gnn import GNNModule, item_graph
from sklearn_dr4sr.recommenders.layers import Layout
from sklearn_dr4sr.recommenders.losses import LOSSES
from sklearn_dr4sr.recommenders.training import encode_groups

LENGTH = 12
SMALL = {
    "embedding_dim": 16,
    "hidden_dim": 24,
    "max_length": LENGTH,
    "loss": "ce",
    "max_epochs": 1,
    "device": "cpu",
    "random_state": 0,
}
MODELS = {
    "GRU4Rec": lambda **p: GRU4Rec(**{**SMALL, **p}),
    "FMLP-prefix": lambda **p: FMLP(**{**SMALL, "mode": "prefix", **p}),
    "FMLP-prefix_fast": lambda **p: FMLP(**{**SMALL, "mode": "prefix_fast", **p}),
    "FMLP-causal": lambda **p: FMLP(**{**SMALL, "mode": "causal", **p}),
    "GNN-rw": lambda **p: GNN(**{**SMALL, **p}),
    "GNN-sym": lambda **p: GNN(
        **{**SMALL, "graph": "regenerated", "normalization": "sym", "graph_layers": 2, **p}
    ),
    "CL4SRec": lambda **p: CL4SRec(**{**SMALL, **p}),
    "CL4SRec-original": lambda **p: CL4SRec(**{**SMALL, "augment": "original", **p}),
    "BSARec": lambda **p: BSARec(**{**SMALL, "kernel_size": 4, "filter_weight": 0.6, **p}),
    "BSARec-relative": lambda **p: BSARec(
        **{**SMALL, "kernel_size": 4, "filter_weight": 0.6, "positions": "relative", **p}
    ),
}
every_model = pytest.mark.parametrize("name", MODELS)
ROWS = [[1, 2, 3], [7], [5, 5, 5, 9], list(range(1, 21))]  # the last is longer than max_length


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def sequences():
    return make_sequences(120, 30, random_state=0)


@pytest.fixture(scope="module")
def fitted(sequences):
    """Every model, fitted, its parameters then moved away from where they began."""
    models = {}
    for name, make in MODELS.items():
        models[name] = make().fit(sequences)
        module = models[name].net_.module_
        shake(module)
        assert not module.training
    return models


def shake(module):
    """Add noise to all parameters, so that no norm or bias is trivial."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
        if isinstance(module, FMLPModule):
            module.item_embedding.weight[module.item_embedding.padding_idx] = 0
    return module


def to_numpy(module):
    return {name: value.double().numpy() for name, value in module.state_dict().items()}


# --- forward passes in numpy, for one unpadded row of codes, in double precision ----------------


def norm(x, state, name):
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-12) * state[f"{name}.weight"] + state[f"{name}.bias"]


def linear(x, state, name):
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def feed_forward(x, state, name):
    inner = linear(x, state, f"{name}.0")
    return linear(0.5 * inner * (1 + erf(inner / np.sqrt(2))), state, f"{name}.3")


def attention(x, state, name, n_heads=2):
    q, k, v = np.split(linear(x, state, f"{name}.qkv"), 3, axis=-1)
    dim = x.shape[1] // n_heads
    mixed = np.zeros_like(x)
    for h in range(n_heads):
        part = slice(h * dim, (h + 1) * dim)
        for t in range(len(x)):
            logit = k[: t + 1, part] @ q[t, part] / np.sqrt(dim)
            if f"{name}.bias" in state:
                logit += [state[f"{name}.bias"][h, t - s] for s in range(t + 1)]
            share = np.exp(logit - logit.max())
            mixed[t, part] = share / share.sum() @ v[: t + 1, part]
    return linear(mixed, state, f"{name}.out")


def numpy_sasrec(state, codes, items=None):
    items = state["item_embedding.weight"] if items is None else items
    x = items[codes] + state["position_embedding.weight"][: len(codes)]
    for block in ("blocks.0", "blocks.1"):
        x = norm(x + attention(x, state, f"{block}.attention"), state, f"{block}.norm_attention")
        x = norm(
            x + feed_forward(x, state, f"{block}.feed_forward"),
            state,
            f"{block}.norm_feed_forward",
        )
    return x


def numpy_bsarec(state, codes, alpha=0.6):
    x = state["item_embedding.weight"][codes]
    if "position_embedding.weight" in state:
        x = x + state["position_embedding.weight"][: len(codes)]
    x = norm(x, state, "input_norm")
    for block in ("blocks.0", "blocks.1"):
        kernel, beta = state[f"{block}.rescale.kernel"], state[f"{block}.rescale.beta"]
        low = np.zeros_like(x)
        for t in range(len(x)):
            for j in range(min(len(kernel), t + 1)):
                low[t] += kernel[j] * x[t - j]
        a = norm(x + low + beta**2 * (x - low), state, f"{block}.norm_filter")
        b = norm(x + attention(x, state, f"{block}.attention"), state, f"{block}.norm_attention")
        h = alpha * a + (1 - alpha) * b
        x = norm(
            h + feed_forward(h, state, f"{block}.feed_forward"),
            state,
            f"{block}.norm_feed_forward",
        )
    return x


def numpy_gru(state, codes):
    x = state["item_embedding.weight"][codes]
    for layer in (0, 1):
        of_input = np.split(state[f"gru.weight_ih_l{layer}"], 3)
        of_state = np.split(state[f"gru.weight_hh_l{layer}"], 3)
        h, states = np.zeros(of_state[0].shape[1]), []
        for value in x:
            r, z = (expit(of_input[g] @ value + of_state[g] @ h) for g in (0, 1))
            n = np.tanh(of_input[2] @ value + r * (of_state[2] @ h))
            h = (1 - z) * n + z * h
            states.append(h)
        x = np.array(states)
    return linear(x, state, "out")


def kernel_of(weight, n):
    """Inverse transform of (frequencies, dim, 2) by its definition, (n, dim)."""
    spectrum = weight[..., 0] + 1j * weight[..., 1]
    kernel = np.zeros((n, weight.shape[1]))
    for t in range(n):
        for f in range(n // 2 + 1):
            twice = 1 if f == 0 or 2 * f == n else 2  # for the conjugate frequency
            kernel[t] += twice * (spectrum[f] * np.exp(2j * np.pi * f * t / n)).real / n
    return kernel


def circular(x, kernel):
    n = len(x)
    return np.array([sum(kernel[(t - s) % n] * x[s] for s in range(n)) for t in range(n)])


def causal(x, kernel):
    channels = zip(x.T, kernel[: len(x)].T, strict=True)
    return np.array([np.convolve(c, w)[: len(x)] for c, w in channels]).T


def numpy_fmlp(state, codes, convolve):
    x = state["item_embedding.weight"][codes] + state["position_embedding.weight"][: len(codes)]
    x = norm(x, state, "input_norm")
    for block in ("blocks.0", "blocks.1"):
        kernel = kernel_of(state[f"{block}.filter.weight"], LENGTH)
        x = norm(x + convolve(x, kernel), state, f"{block}.norm_filter")
        x = norm(
            x + feed_forward(x, state, f"{block}.feed_forward"),
            state,
            f"{block}.norm_feed_forward",
        )
    return x


def numpy_fmlp_prefixes(state, codes):
    padding = len(state["item_embedding.weight"]) - 1
    states = []
    for t in range(len(codes)):
        sample = [padding] * (LENGTH - 1 - t) + list(codes[: t + 1])
        states.append(numpy_fmlp(state, sample, circular)[-1])
    return np.array(states)


def plain_graph(rows, n_items, normalization):
    """The item graph by dictionaries, as a dense matrix."""
    counts = defaultdict(float)
    for row in rows:
        for t, i in enumerate(row):
            for gap in (1, 2):
                if t + gap < len(row):
                    counts[i, row[t + gap]] += 1 / gap
    total = defaultdict(float)
    for (i, j), value in counts.items():
        total[i, j] += value
        total[j, i] += value
    for i in range(n_items):
        total[i, i] += 1
    graph = np.zeros((n_items, n_items))
    for (i, j), value in total.items():
        if normalization == "rw":
            neighbours = [sum(a == k for a, _ in total) for k in (i, j)]
            graph[i, j] = value / neighbours[0] + value / neighbours[1]
        else:
            sums = [sum(v for (a, _), v in total.items() if a == k) for k in (i, j)]
            graph[i, j] = value / math.sqrt(sums[0] * sums[1])
    return graph


def numpy_gnn(state, codes, rows, normalization, n_layers):
    items = state["item_embedding.weight"]
    graph = plain_graph(rows, len(items) - 1, normalization)
    layer = total = items[:-1]
    for _ in range(n_layers):
        layer = graph @ layer
        total = total + layer
    return numpy_sasrec(state, codes, total / (n_layers + 1))


@every_model
def test_decision_function_equals_a_numpy_forward(name, fitted, sequences):
    model = fitted[name]
    state = to_numpy(model.net_.module_)
    rows = [np.searchsorted(model.items_, row).tolist()[-LENGTH - 1 :] for row in sequences]
    oracle = {
        "GRU4Rec": numpy_gru,
        "FMLP-prefix": numpy_fmlp_prefixes,
        "FMLP-prefix_fast": numpy_fmlp_prefixes,
        "FMLP-causal": lambda state, codes: numpy_fmlp(state, codes, causal),
        "GNN-rw": lambda state, codes: numpy_gnn(state, codes, rows, "rw", 3),
        "GNN-sym": lambda state, codes: numpy_gnn(state, codes, rows, "sym", 2),
        "CL4SRec": numpy_sasrec,
        "CL4SRec-original": numpy_sasrec,
        "BSARec": numpy_bsarec,
        "BSARec-relative": numpy_bsarec,
    }[name]
    scores = model.decision_function(ROWS)
    assert scores.shape == (len(ROWS), 30)
    for row, got in zip(ROWS, scores, strict=True):
        codes = np.searchsorted(model.items_, row)[-LENGTH:]
        states = oracle(state, codes)
        scale = np.abs(states).max()  # GNN's smoothing is no average: its scores may be large
        ids, length = torch.from_numpy(codes)[None], torch.tensor([len(codes)])
        with torch.no_grad():
            encoded = model.net_.module_.encode(ids, length)[0].numpy()
        np.testing.assert_allclose(encoded, states, atol=1e-5 * scale)
        expected = states[-1] @ state["item_embedding.weight"][:30].T
        np.testing.assert_allclose(got, expected, atol=1e-5 * max(1, np.abs(expected).max()))


# --- what all have in common --------------------------------------------------------------------


@every_model
def test_a_later_item_never_changes_an_earlier_state(name, fitted):
    module = fitted[name].net_.module_
    ids = torch.randint(0, 30, (5, 9), generator=torch.Generator().manual_seed(1))
    changed = ids.clone()
    changed[:, 6] = (changed[:, 6] + 1) % 30
    lengths = torch.full((5,), 9)
    with torch.no_grad():
        before, after = module.encode(ids, lengths), module.encode(changed, lengths)
    torch.testing.assert_close(before[:, :6], after[:, :6], atol=1e-5, rtol=1e-5)
    assert (before[:, 6:] - after[:, 6:]).abs().amax(dim=(0, 2)).min() > 1e-3


@every_model
def test_padding_and_neighbours_change_nothing(name, fitted):
    module = fitted[name].net_.module_
    generator = torch.Generator().manual_seed(2)
    lengths = torch.tensor([1, 4, 7, 12])
    ids = torch.randint(0, 30, (4, LENGTH), generator=generator)
    ids = ids.masked_fill(torch.arange(LENGTH) >= lengths[:, None], 30)
    with torch.no_grad():
        together = module.encode(ids, lengths)
        for row, length in enumerate(lengths.tolist()):
            alone = module.encode(ids[row : row + 1, :length], lengths[row : row + 1])
            torch.testing.assert_close(alone[0], together[row, :length], atol=1e-5, rtol=1e-5)


@every_model
def test_order_of_rows_and_their_number_change_nothing(name, fitted, sequences):
    model = fitted[name]
    rows = [*list(sequences)[:40], [], [999], [3, 999, 4]]
    bulk, scores = model.predict(rows, k=5), model.decision_function(rows)
    one_by_one = np.concatenate([model.predict([row], k=5) for row in rows])
    np.testing.assert_array_equal(one_by_one, bulk)
    order = np.random.default_rng(0).permutation(len(rows))
    shuffled = model.decision_function([rows[i] for i in order])
    np.testing.assert_allclose(shuffled, scores[order], atol=1e-5 * np.abs(scores).max())
    np.testing.assert_array_equal(bulk[-3], bulk[-2])  # nothing known: by popularity
    np.testing.assert_array_equal(model.decision_function([[]])[0], model.popularity_)
    atol = 1e-5 * np.abs(scores).max()
    np.testing.assert_allclose(scores[-1], model.decision_function([[3, 4]])[0], atol=atol)
    long, its_end = range(1, 21), range(20 - LENGTH + 1, 21)
    np.testing.assert_array_equal(*(model.decision_function([list(r)]) for r in (long, its_end)))


@every_model
def test_all_rows_empty(name, fitted):
    ranking = fitted[name].predict([[], [999]], k=3)
    np.testing.assert_array_equal(ranking[0], ranking[1])


@every_model
def test_same_seed_same_model_stored_and_loaded(name, sequences, tmp_path):
    make = MODELS[name]
    first, second = make().fit(sequences), make().fit(sequences)
    scores = first.decision_function(ROWS)
    np.testing.assert_array_equal(second.decision_function(ROWS), scores)
    assert np.abs(make(random_state=1).fit(sequences).decision_function(ROWS) - scores).max() > 0
    joblib.dump(first, tmp_path / "model.joblib")
    loaded = joblib.load(tmp_path / "model.joblib")
    np.testing.assert_array_equal(loaded.decision_function(ROWS), scores)
    assert clone(first).get_params() == first.get_params()


@every_model
def test_takes_patterns_weights_and_every_loss(name):
    histories = [[1, 2, 3, 4], [2, 3], [4], [5, 1, 2]]
    patterns = [[1, 2], [1, 3, 4], [2, 3], [3], [5, 2, 1]]
    ones = np.ones(sum(map(len, patterns)))
    data = SequenceDataset(histories, patterns, source=[0, 0, 1, 2, 3])
    weighted = SequenceDataset(histories, patterns, ones, source=[0, 0, 1, 2, 3])
    for loss in LOSSES:
        plain = MODELS[name](loss=loss, n_negatives=2).fit(data, [1, 4, None, 3])
        assert np.isfinite(plain.history_[0]["train_loss"])
        assert plain.history_[0]["valid_ndcg"] > 0
        same = MODELS[name](loss=loss, n_negatives=2).fit(weighted)
        assert same.history_[0]["train_loss"] == pytest.approx(plain.history_[0]["train_loss"])


@every_model
@pytest.mark.parametrize("loss", ["ce", "bce"])
def test_small_and_odd_data(name, loss):
    make = MODELS[name]
    one_item = make(loss=loss).fit([[1, 1, 1], [1]])
    assert one_item.predict([[1]], k=5).tolist() == [[-1]]
    assert make(loss=loss, exclude_seen=False).fit([[1, 1]]).predict([[1]]).tolist() == [[1]]
    pairs = make(loss=loss).fit([[1, 2], [2, 3], [4]])  # every input has one item
    assert pairs.predict([[1], [4, 9]], k=3).shape == (2, 3)
    long = make(loss=loss, max_length=3).fit([list(range(1, 30))])
    assert long.predict([list(range(20))], k=3).shape == (1, 3)


@pytest.mark.slow
@every_model
def test_learns_a_deterministic_grammar(name):
    rows = [[1 + (start + step) % 12 for step in range(5)] for start in range(12)]
    model = MODELS[name](max_epochs=40, lr=0.02, dropout=0.1, batch_size=6)
    model.fit(rows * 2)
    held_out = [row[:-1] for row in rows] + [row[1:] for row in rows]
    following = [row[-1] for row in rows] + [1 + row[-1] % 12 for row in rows]
    found = model.predict(held_out, k=1)[:, 0]
    assert (found == following).mean() > 0.9


@pytest.mark.parametrize(
    ("model", "parameter", "value"),
    [
        (BSARec, "kernel_size", 0),
        (BSARec, "filter_weight", 1.5),
        (BSARec, "n_heads", 3),
        (GRU4Rec, "hidden_dim", 2.5),
        (GRU4Rec, "loss", "hinge"),
        (FMLP, "mode", "suffix"),
        (FMLP, "dropout", 1.0),
        (GNN, "graph", "local"),
        (GNN, "normalization", None),
        (GNN, "graph_layers", 0),
        (CL4SRec, "augment", "none"),
        (CL4SRec, "crop", -0.1),
        (CL4SRec, "mask", 1.1),
        (CL4SRec, "reorder", "all"),
        (CL4SRec, "contrast_weight", -1),
        (CL4SRec, "temperature", 0),
    ],
)
def test_bad_parameters_are_named(model, parameter, value, sequences):
    with pytest.raises(ValueError, match=parameter):
        model(**{parameter: value}).fit(sequences)


# --- layers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.0, 0.2, 0.5, 0.999])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dropout_drops_and_scales(p, dtype):
    torch.manual_seed(0)
    layer, x = Dropout(p), torch.ones(1001, 401, dtype=dtype, requires_grad=True)
    y = layer(x)
    assert y.dtype == dtype
    n = x.numel()
    assert (y == 0).sum().item() == pytest.approx(n * p, abs=5 * math.sqrt(n * p * (1 - p)))
    torch.testing.assert_close(
        y[y != 0], torch.full_like(y[y != 0], 1 / (1 - p)), rtol=2e-2 * p, atol=0
    )
    for part in range(4):  # the four elements of a random word are alike, and independent
        kept = (y.ravel()[part::4] != 0).double().mean().item()
        assert kept == pytest.approx(1 - p, abs=6e-3)
    pairs = (y.ravel()[:-1] != 0) & (y.ravel()[1:] != 0)
    assert pairs.double().mean().item() == pytest.approx((1 - p) ** 2, abs=6e-3)
    y.sum().backward()
    torch.testing.assert_close(x.grad, y.detach())
    torch.manual_seed(0)
    torch.testing.assert_close(layer(x), y)
    assert layer.eval()(x) is x
    assert layer.train()(torch.ones(0, 3)).shape == (0, 3)


# --- BSARec -------------------------------------------------------------------------------------


def test_the_low_pass_begins_as_the_mean():
    block = BSARecModule(5, embedding_dim=4, hidden_dim=4, kernel_size=3).blocks[0]
    layout = Layout.of([torch.zeros(2, 6, dtype=torch.int64), torch.zeros(1, 2, dtype=torch.int64)])
    x = torch.randn(14, 4)
    with torch.no_grad():
        block.rescale.beta.zero_()  # nothing but the low-pass
        low, alone = (layout.groups(v) for v in (block.rescale(x, layout), x))
        torch.testing.assert_close(low[0][:, 4], alone[0][:, 2:5].mean(dim=1))
        for filtered, given in zip(low, alone, strict=True):  # a sequence sees no other
            torch.testing.assert_close(filtered[:, 0], given[:, 0] / 3)
            torch.testing.assert_close(filtered[:, 1], given[:, :2].sum(dim=1) / 3)
        block.rescale.beta.fill_(1.0)  # nothing is filtered
        torch.testing.assert_close(block.rescale(x, layout), x)


@every_model
def test_groups_encoded_together_are_as_each_alone(name):
    model = MODELS[name]().fit([[1, 2, 3], [4, 5], [6, 7, 8, 9]])
    module = model.net_.module_.double().eval()
    rng = torch.Generator().manual_seed(0)
    ids = [torch.randint(9, shape, generator=rng) for shape in [(3, 1), (2, 4), (4, 3)]]
    lengths = [torch.full((len(part),), part.shape[1]) for part in ids]
    together = encode_groups(module, ids, lengths)
    alone = torch.cat(
        [module.encode(i, n).flatten(0, 1) for i, n in zip(ids, lengths, strict=True)]
    )
    torch.testing.assert_close(together, alone)
    weights = list(module.parameters())
    ways = [
        torch.autograd.grad((t**2).sum(), weights, allow_unused=True) for t in (together, alone)
    ]
    for one, other in zip(*ways, strict=True):
        torch.testing.assert_close(one, other)


# --- FMLP ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 7, 12])
def test_filters_equal_direct_sums(n):
    torch.manual_seed(n)
    layer = fmlp._Filter(n, 3).double()
    torch.nn.init.normal_(layer.weight)
    x = torch.randn(2, n, 3, dtype=torch.float64)
    kernel = kernel_of(layer.weight.detach().numpy(), n)
    np.testing.assert_allclose(layer.kernel().detach(), kernel, atol=1e-12)
    for row, whole, last, past in zip(x, layer(x), layer.last(x), layer.causal(x), strict=True):
        expected = circular(row.numpy(), kernel)
        np.testing.assert_allclose(whole.detach(), expected, atol=1e-12)
        np.testing.assert_allclose(last.detach(), expected[-1], atol=1e-12)
        np.testing.assert_allclose(past.detach(), causal(row.numpy(), kernel), atol=1e-12)
    shorter = x[:, : max(1, n - 2)]
    np.testing.assert_allclose(
        layer.causal(shorter)[0].detach(), causal(shorter[0].numpy(), kernel), atol=1e-12
    )


def test_the_papers_filter_leaks_when_a_whole_sequence_is_trained():
    module = shake(FMLPModule(30, LENGTH, 16, 24, mode="prefix")).eval()
    ids = torch.randint(0, 30, (5, LENGTH), generator=torch.Generator().manual_seed(0))
    changed = ids.clone()
    changed[:, -1] = (changed[:, -1] + 1) % 30
    with torch.no_grad():
        before, after = (module.blocks[0](module._embed(i), "circular") for i in (ids, changed))
        assert (before - after).abs().amax(dim=(0, 2)).min() > 1e-3  # at every earlier position
        before, after = (module.blocks[0](module._embed(i), "causal") for i in (ids, changed))
    torch.testing.assert_close(before[:, :-1], after[:, :-1])


@pytest.mark.parametrize("n_layers", [1, 3])
def test_fast_prefixes_and_chunks_give_the_same_states_and_gradients(n_layers, monkeypatch):
    lengths = torch.tensor([1, 5, 12, 3])
    ids = torch.randint(0, 30, (4, LENGTH), generator=torch.Generator().manual_seed(0))
    outcomes, many, few = [], 2**17, 7 * LENGTH
    for mode, kept, at_once in [
        ("prefix", many, many),
        ("prefix_fast", many, many),
        ("prefix_fast", many, few),  # in chunks
        ("prefix_fast", few, few),  # in chunks that are computed again
    ]:
        monkeypatch.setattr(fmlp, "PREFIX_TOKENS", kept)
        monkeypatch.setattr(fmlp, "CPU_PREFIX_TOKENS", at_once)
        module = FMLPModule(30, LENGTH, 16, 24, n_layers, dropout=0.0, mode=mode)
        shake(module).load_state_dict(outcomes[0][2] if outcomes else module.state_dict())
        states = module.encode(ids, lengths)
        (states * torch.arange(16)).sum().backward()
        gradient = torch.cat([p.grad.ravel() for p in module.parameters()])
        outcomes.append((states, gradient, module.state_dict()))
        last = module.encode_last(ids, lengths)
        torch.testing.assert_close(last, states[torch.arange(4), lengths - 1])
        beyond = torch.arange(LENGTH) >= lengths[:, None]
        assert (states[beyond] == 0).all()
    for states, gradient, _ in outcomes[1:]:
        torch.testing.assert_close(states, outcomes[0][0], atol=1e-5, rtol=0)
        torch.testing.assert_close(gradient, outcomes[0][1], atol=1e-4, rtol=1e-4)


def test_chunks_draw_the_same_dropout_forwards_and_backwards(monkeypatch):
    """What is computed again in the backward pass must be what the forward pass computed."""
    monkeypatch.setattr(fmlp, "PREFIX_TOKENS", 3 * LENGTH)
    monkeypatch.setattr(fmlp, "CPU_PREFIX_TOKENS", 3 * LENGTH)
    module = FMLPModule(30, LENGTH, 4, 4, dropout=0.5).double()
    ids, lengths = torch.arange(16).reshape(2, 8), torch.tensor([8, 5])
    weight = module.item_embedding.weight

    def loss():
        torch.manual_seed(0)
        return module.encode(ids, lengths).sin().sum()

    loss().backward()
    step = torch.zeros_like(weight)
    step[3, 1] = 1e-6
    with torch.no_grad():
        weight += step
        above = loss()
        weight -= 2 * step
        below = loss()
    assert weight.grad[3, 1].item() == pytest.approx((above - below).item() / 2e-6, rel=1e-4)


def test_the_padding_of_a_prefix_stays_the_zero_vector(sequences):
    module = FMLP(**SMALL).fit(sequences).net_.module_
    assert (module.item_embedding.weight[30] == 0).all()


# --- GNN ----------------------------------------------------------------------------------------

few_rows = st.lists(st.lists(st.integers(0, 5), max_size=7), min_size=1, max_size=5)


@settings(max_examples=50, deadline=None)
@given(few_rows, st.sampled_from(["rw", "sym"]))
def test_graph_equals_a_plain_count(rows, normalization):
    codes = np.array([code for row in rows for code in row], dtype=int)
    offsets = np.cumsum([0, *map(len, rows)])
    graph = item_graph(Sequences.from_codes(codes, offsets, np.arange(6)), normalization).toarray()
    np.testing.assert_allclose(graph, plain_graph(rows, 6, normalization), rtol=1e-6)
    np.testing.assert_array_equal(graph, graph.T)


def test_graph_of_histories_or_of_patterns():
    histories, patterns = [[1, 2, 3], [3, 4]], [[1, 4], [2, 3]]
    data = SequenceDataset(histories, patterns, source=[0, 1])
    for graph, rows in [("original", histories), ("regenerated", patterns)]:
        model = GNN(**{**SMALL, "graph": graph}).fit(data)
        codes = [[item - 1 for item in row] for row in rows]
        adjacency = model.net_.module_.adjacency.toarray()
        np.testing.assert_allclose(adjacency, plain_graph(codes, 4, "rw"), rtol=1e-6)


def small_gnn():
    graph = item_graph(Sequences([[0, 1, 2, 3], [2, 4, 0]]))
    return shake(GNNModule(5, graph, embedding_dim=4, hidden_dim=4, n_heads=1)).eval()


def test_smoothing_has_the_right_derivatives():
    module = small_gnn().double()
    graph = module._graph_like(module.item_embedding.weight)
    x = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: gnn._Smooth.apply(x, graph, 3), x)
    assert torch.autograd.gradgradcheck(lambda x: gnn._Smooth.apply(x, graph, 3).square(), x)


def test_smoothing_follows_every_change_of_the_embeddings():
    module, ids, lengths = small_gnn(), torch.tensor([[0, 1, 2]]), torch.tensor([3])
    for fused in (False, True):  # the fused one leaves the version counter as it was
        optimizer = torch.optim.Adam(module.parameters(), fused=fused)
        smooth = module.smoothed_items()
        assert module.smoothed_items() is smooth
        for _ in range(2):  # two gradients at the same point: the first frees nothing
            module.encode(ids, lengths)[..., 0].square().sum().backward()
        copy.deepcopy(module).encode(ids, lengths)[..., 0].square().sum().backward()
        assert module.smoothed_items() is smooth
        optimizer.step()
        fresh = pickle.loads(pickle.dumps(module))
        assert module.smoothed_items() is not smooth
        torch.testing.assert_close(module.smoothed_items(), fresh.smoothed_items())
    with torch.no_grad():
        smooth = module.smoothed_items()
        assert not smooth.requires_grad
        assert module.smoothed_items() is smooth
    assert module.smoothed_items().requires_grad


def test_smoothing_is_done_once_a_step(sequences, monkeypatch):
    calls = []
    forward = gnn._Smooth.forward
    monkeypatch.setattr(
        gnn._Smooth, "forward", staticmethod(lambda *args: calls.append(1) or forward(*args))
    )
    model = GNN(**{**SMALL, "batch_size": 40, "max_epochs": 2}).fit(sequences)
    # a forward and a backward pass a step: what a group adds comes together before the latter
    assert len(calls) == 2 * model.n_steps_ == 12
    model.predict(sequences)
    model.predict(sequences)
    assert len(calls) == 13


# --- CL4SRec ------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_info_nce_equals_a_plain_loop(temperature):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 5, 3))
    expected = 0.0
    for i in range(5):
        positive = a[i] @ b[i] / temperature
        others = [a[i] @ b[j] / temperature for j in range(5)]
        others += [a[i] @ a[j] / temperature for j in range(5) if j != i]
        expected += (np.log(np.exp(others).sum()) - positive) / 5
    first, second = (torch.tensor(v, requires_grad=True) for v in (a, b))
    assert info_nce(first, second, temperature).item() == pytest.approx(expected)
    assert torch.autograd.gradcheck(lambda *v: info_nce(*v, temperature), (first, second))


@pytest.mark.parametrize("ratios", [(0.2, 0.7, 0.2), (0.6, 0.4, 0.5), (0.0, 0.0, 0.0), (1, 1, 1)])
@pytest.mark.parametrize("length", [1, 2, 5, 10])
def test_augmentation_crops_masks_or_reorders(ratios, length):
    torch.manual_seed(0)
    n, mask_id = 600, 99
    ids = torch.full((n, 12), 98)
    ids[:, :length] = torch.arange(length) + 1
    views, lengths = augment(ids, torch.full((n,), length), ratios, mask_id)
    original = list(range(1, length + 1))
    n_crop, n_mask, n_reorder = (math.floor(ratio * length) for ratio in ratios)
    found = defaultdict(set)
    for row, size in zip(views.tolist(), lengths.tolist(), strict=True):
        view = row[:size]
        if size < length:
            assert size == max(1, n_crop)
            assert view == original[view[0] - 1 : view[0] - 1 + size]
            found["crop"].add(view[0])
        elif mask_id in view:
            assert view.count(mask_id) == n_mask
            assert all(got in (mask_id, was) for got, was in zip(view, original, strict=True))
            found["mask"].update(t for t in range(size) if view[t] == mask_id)
        else:
            assert sorted(view) == original
            moved = [t for t in range(size) if view[t] != original[t]]
            if moved:
                assert moved[-1] - moved[0] < n_reorder
                found["reorder"].update(moved)
        assert row[size:] == [98] * (12 - size) or size < length
    # everything that may happen does, everywhere
    if 0 < max(1, n_crop) < length:
        assert found["crop"] == set(range(1, length - max(1, n_crop) + 2))
    assert found["mask"] == (set(range(length)) if n_mask else set())
    assert found["reorder"] == (set(range(length)) if n_reorder > 1 else set())


def batch_of(patterns, n_items):
    codes = Sequences.from_codes(
        np.concatenate(patterns), np.cumsum([0, *map(len, patterns)]), np.arange(n_items)
    )
    data = TrainingPatterns(codes, None, LENGTH, "all")
    return [data.group(rows) for rows in (np.arange(2), np.arange(2, len(data)))]


def test_contrast_of_a_step_equals_a_plain_loop(monkeypatch):
    """Views put in place of the random ones; two groups of different lengths."""
    module = shake(CL4SRecModule(9, LENGTH, 4, 8, n_heads=1, dropout=0.0, temperature=0.7))
    groups = batch_of([[0, 1, 2], [3, 4], [5, 6, 7, 8, 0], [1, 3, 5, 7]], 9)  # [3] has one item
    inputs = [[0, 1], [5, 6, 7, 8], [1, 3, 5]]

    def reverse_second(ids, lengths, ratios, mask_id):
        assert (ratios, mask_id) == ((0.2, 0.7, 0.2), 10)
        rows = [row[:size] for row, size in zip(ids.tolist(), lengths.tolist(), strict=True)]
        assert rows == inputs + inputs
        views = ids.clone()
        for i in range(3):
            views[i, 0] = 10
            views[3 + i, : lengths[i]] = views[3 + i, : lengths[i]].flip(0)
        return views, lengths

    monkeypatch.setattr(cl4srec, "augment", reverse_second)
    state = to_numpy(module)
    a = np.array([numpy_heads_1(state, [10, *row[1:]]).mean(axis=0) for row in inputs])
    b = np.array([numpy_heads_1(state, row[::-1]).mean(axis=0) for row in inputs])
    expected = 0.1 * info_nce(torch.tensor(a), torch.tensor(b), 0.7)
    got = module.extra_loss(groups)
    assert got.item() == pytest.approx(expected.item(), rel=1e-5)


def numpy_heads_1(state, codes):
    x = state["item_embedding.weight"][codes] + state["position_embedding.weight"][: len(codes)]
    for block in ("blocks.0", "blocks.1"):
        mixed = attention(x, state, f"{block}.attention", n_heads=1)
        x = norm(x + mixed, state, f"{block}.norm_attention")
        inner = feed_forward(x, state, f"{block}.feed_forward")
        x = norm(x + inner, state, f"{block}.norm_feed_forward")
    return x


def test_gradient_of_the_contrast_equals_finite_differences():
    module = shake(CL4SRecModule(9, LENGTH, 4, 8, n_heads=1, mask=0.5)).double()
    groups = batch_of([[0, 1, 2, 3], [3, 4, 5], [5, 6, 7, 8, 0], [1, 3, 5, 7]], 9)

    def loss():
        torch.manual_seed(3)
        return module.extra_loss(groups)

    loss().backward()
    rng = np.random.default_rng(0)
    for parameter in module.parameters():
        at = tuple(int(rng.integers(size)) for size in parameter.shape)
        if parameter is module.item_embedding.weight:
            at = (10, 2)  # the mask's row
        kept, values = parameter.data[at].item(), []
        for step in (1e-6, -1e-6):
            parameter.data[at] = kept + step
            values.append(loss().item())
        parameter.data[at] = kept
        expected = (values[0] - values[1]) / 2e-6
        assert parameter.grad[at].item() == pytest.approx(expected, abs=1e-7)
    assert module.item_embedding.weight.grad[10].abs().sum() > 0
    assert module.item_embedding.weight.grad[9].abs().sum() == 0  # padding is not in any mean


def test_contrast_needs_two_rows_of_two_items():
    module = CL4SRecModule(9, LENGTH, 4, 8)
    assert module.extra_loss(batch_of([[0, 1], [2, 3], [4, 5]], 9)) == 0
    assert module.extra_loss(batch_of([[0, 1], [2, 3], [4, 5, 6]], 9)) == 0
    assert module.extra_loss(batch_of([[0, 1], [2, 3, 5], [4, 5, 6]], 9)) > 0


def test_views_of_the_original_sequences():
    histories = Sequences.from_codes(
        np.array([0, 1, 2, 3, 4, 5, 6, 7]), np.array([0, 4, 4, 6, 8]), np.arange(9)
    )
    originals = Originals(histories, source=np.array([0, 0, 2, 3, 3]))
    groups = batch_of([[0, 1], [2, 3], [4, 5], [6, 7], [7, 6]], 9)
    ids, lengths = originals.of([groups[0]], 9)  # two patterns of one user: once
    assert (ids.tolist(), lengths.tolist()) == ([[0, 1, 2, 3]], [4])
    ids, lengths = originals.of(groups, 9)
    assert (ids.tolist(), lengths.tolist()) == (
        [[0, 1, 2, 3], [4, 5, 9, 9], [6, 7, 9, 9]],
        [4, 2, 2],
    )
    assert pickle.loads(pickle.dumps(originals)).histories is None


def test_originals_are_the_inputs_of_the_histories(monkeypatch):
    data = SequenceDataset([list(range(1, 20)), [1, 2], [5, 6, 7]], [[1, 2], [6, 7]], source=[0, 2])
    model = CL4SRec(**{**SMALL, "augment": "original"})
    encoded = SequenceDataset(data.histories.recode(data.items), data.table)
    originals = model._module_parameters(encoded)["originals"]
    assert list(originals.histories) == [list(range(7, 19)), [1], [5, 6]]
    stored = pickle.dumps(model.fit(data))
    module = pickle.loads(stored).net_.module_
    assert module.originals.histories is None


def test_the_mask_is_never_ranked(sequences):
    model = CL4SRec(**SMALL).fit(sequences)
    assert model.net_.module_.item_embedding.num_embeddings == 32
    with torch.no_grad():
        model.net_.module_.item_embedding.weight[30:] = 1e6
    assert model.decision_function(ROWS).shape == (4, 30)
    assert np.isin(model.predict(ROWS, k=30), [*model.items_, -1]).all()


def test_weights_leave_the_contrast_alone():
    rows = [[1, 2, 3, 4], [4, 3, 2, 1], [2, 4, 1, 3]]
    hidden = SequenceDataset(rows, rows, np.zeros(12), source=[0, 1, 2])
    history = CL4SRec(**{**SMALL, "contrast_weight": 2.0}).fit(hidden).history_
    assert history[0]["train_loss"] > 0.1
    history = CL4SRec(**{**SMALL, "contrast_weight": 0.0}).fit(hidden).history_
    assert history[0]["train_loss"] == 0


# --- RankBlend ----------------------------------------------------------------------------------


def blend_of(**parameters):
    pairs = [("model", SASRec(**SMALL)), ("rules", SequentialRules())]
    return RankBlend(pairs, **parameters)


@pytest.mark.parametrize("weights", [None, [1.0, 0.6], [2, -1]])
def test_blend_equals_its_formula(weights, sequences):
    blend = blend_of(weights=weights, floor=0.01).fit(sequences)
    assert [type(e).__name__ for e in blend.estimators_] == ["SASRec", "SequentialRules"]
    rows = [[1, 2, 3], [], [999, 4]]
    logits = SASRec(**SMALL).fit(sequences).decision_function(rows).astype(float)
    counts = SequentialRules().fit(sequences).decision_function(rows).astype(float)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    w = weights or [1, 1]
    expected = w[0] * log_p + w[1] * np.log(counts + 0.01)
    np.testing.assert_allclose(blend.decision_function(rows), expected, atol=1e-4)
    ranked = blend.predict([[1, 2, 3]], k=3)
    masked = np.where(np.isin(blend.items_, [1, 2, 3]), -np.inf, expected[0])
    np.testing.assert_array_equal(ranked[0], blend.items_[np.argsort(-masked)[:3]])


@pytest.mark.parametrize("model", [MarkovChain(), SequentialRules(), EASE(), UserKNN()])
def test_a_blend_of_one_counting_model_ranks_as_the_model(model, sequences):
    """Ties too, which are most of what such a model says of a short history."""
    rows = [[], [3], [999], *sequences[:50], *([item] for item in range(1, 16))]
    expected = clone(model).fit(sequences).predict(rows, k=15)
    for pairs in ([("only", model)], [("blend", RankBlend([("only", model)]))]):
        blend = RankBlend(pairs).fit(sequences)
        np.testing.assert_array_equal(blend.predict(rows, k=15), expected)


def test_an_empty_history_ranks_by_popularity_in_blends_of_counts(sequences):
    pairs = [("rules", SequentialRules()), ("chain", MarkovChain())]
    blend = RankBlend(pairs).fit(sequences)
    np.testing.assert_array_equal(
        blend.predict([[]], k=15), Popularity().fit(sequences).predict([[]], k=15)
    )


def test_transforms_may_be_chosen_and_weights_set_after_fit(sequences):
    pairs = [("a", MarkovChain()), ("b", SequentialRules())]
    blend = RankBlend(pairs, transforms=["none", "log_softmax"], weights=[1, 0]).fit(sequences)
    plain = MarkovChain().fit(sequences)
    np.testing.assert_allclose(
        blend.decision_function(ROWS), plain.decision_function(ROWS), rtol=1e-6, atol=1e-8
    )  # what orders ties is below that
    blend.set_params(weights=[0, 1])
    scores = blend.decision_function(ROWS)
    np.testing.assert_allclose(np.exp(scores).sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("exclude_seen", [True, False])
def test_auto_weights_rank_the_held_out_items_best(exclude_seen, monkeypatch):
    split = leave_one_out(make_sequences(200, 60, random_state=1))
    pairs = [("model", SASRec(**SMALL)), ("rules", SequentialRules()), ("chain", MarkovChain())]
    blend = RankBlend(pairs, "auto", exclude_seen=exclude_seen)
    monkeypatch.setattr("sklearn_dr4sr.recommenders.rank_blend.CHUNK_SIZE", 60 * 7)  # several
    blend.fit(split.train, split.validation)
    chosen = blend.weights_.tolist()

    def ndcg(weights):
        ranking = blend.set_params(weights=weights).predict(split.train, k=20)
        return ndcg_at_k(split.validation, ranking, 20)

    found = ndcg(chosen)
    assert chosen[0] == 1
    for member in (1, 2):  # no other weight of one of them ranks better
        for weight in rank_blend.GRID:
            assert ndcg([*chosen[:member], weight, *chosen[member + 1 :]]) <= found + 1e-12
    assert found > min(ndcg([1, 0, 0]), ndcg([1, 2, 2]))
    blend.set_params(weights="auto")
    ranked = blend.predict(split.history, k=5)
    np.testing.assert_array_equal(
        ranked, blend.set_params(weights=chosen).predict(split.history, k=5)
    )


def test_auto_weights_need_held_out_items(sequences):
    with pytest.raises(ValueError, match=r"weights='auto'.* fit needs y"):
        blend_of(weights="auto").fit(sequences)
    blend = blend_of().fit(sequences).set_params(weights="auto")
    with pytest.raises(ValueError, match="only fit chooses them"):
        blend.predict([[1]])
    with pytest.warns(UserWarning, match="y: X holds none of its items"):
        blend.fit(sequences, [999] * len(sequences))
    assert blend.weights_.tolist() == [1, 1]
    split = leave_one_out(sequences)
    blend.set_params(model="drop").fit(split.train, split.validation)
    assert blend.weights_.tolist() == [1]
    assert not hasattr(blend.set_params(weights=None).fit(sequences), "weights_")


def test_neural_members_are_found_inside_pipelines_and_searches(sequences):
    search = GridSearchCV(SASRec(**SMALL), {"lr": [0.01]}, cv=LeaveLastOut())
    inner = RankBlend([("only", MarkovChain())])
    pairs = [
        ("pipe", Pipeline([("recommend", SASRec(**SMALL))])),
        ("count", Pipeline([("recommend", MarkovChain())])),
        ("search", search),
        ("blend", inner),
    ]
    split = leave_one_out(sequences)
    blend = RankBlend(pairs).fit(split.train, split.validation)
    chosen = [transform for _, transform, _ in blend._members()]
    assert chosen == ["log_softmax", "log", "log_softmax", "log_softmax"]
    assert blend.predict(split.history, k=3).shape == (120, 3)


def test_blend_has_the_parameters_of_its_members(sequences):
    blend = blend_of()
    assert blend.get_params()["model__lr"] == 1e-3
    blend.set_params(model__lr=0.01, rules__max_gap=3, floor=0.1)
    assert (blend.estimators[0][1].lr, blend.estimators[1][1].max_gap) == (0.01, 3)
    copied = clone(blend)
    assert copied.estimators[0][1] is not blend.estimators[0][1]
    assert copied.get_params()["rules__max_gap"] == 3
    blend.fit(sequences)
    assert not hasattr(blend.estimators[1][1], "items_")  # clones were fitted
    assert set(blend.named_estimators_) == {"model", "rules"}
    blend.set_params(model="drop").fit(sequences)
    assert set(blend.named_estimators_) == {"rules"}
    alone = SequentialRules(max_gap=3).fit(sequences)
    np.testing.assert_array_equal(blend.predict(ROWS, k=5), alone.predict(ROWS, k=5))


def test_blend_hands_the_held_out_items_on(tmp_path):
    rows = [["a", "b", "c"], ["b", "c"], ["c", "a"]]
    blend = blend_of().fit(rows, ["a", None, "unknown"])
    assert "valid_ndcg" in blend.named_estimators_["model"].history_[0]
    assert "valid_ndcg" not in blend_of().fit(rows).named_estimators_["model"].history_[0]
    joblib.dump(blend, tmp_path / "blend.joblib")
    loaded = joblib.load(tmp_path / "blend.joblib")
    np.testing.assert_array_equal(loaded.decision_function(rows), blend.decision_function(rows))
    assert blend.predict([["b"]], k=1).tolist() == [["c"]]


class Half(MarkovChain):
    """Scores half of the catalogue."""

    def decision_function(self, X):
        return super().decision_function(X)[:, ::2]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"estimators": []}, "estimators"),
        ({"estimators": [MarkovChain()]}, "estimators"),
        ({"estimators": [("a", MarkovChain()), ("a", MarkovChain())]}, "unique"),
        ({"estimators": [("a__b", MarkovChain())]}, "__"),
        ({"estimators": [("a", "drop")]}, "dropped"),
        ({"weights": [1.0]}, "weights"),
        ({"weights": [1.0, np.nan]}, "weights"),
        ({"weights": "12"}, "weights"),
        ({"transforms": ["log"]}, "transforms"),
        ({"transforms": ["log", "exp"]}, "transforms"),
        ({"floor": 0}, "floor"),
        ({"weights": [[1], 2]}, "weights: expected 2 numbers"),
    ],
)
def test_bad_blends_are_named(parameters, message, sequences):
    with pytest.raises(ValueError, match=message):
        blend_of().set_params(**parameters).fit(sequences)


def test_members_must_rank_the_same_catalogue(sequences):
    with pytest.raises(TypeError, match=r"'a': expected a recommender .* got 3"):
        RankBlend([("a", 3)]).fit(sequences)
    blend = RankBlend([("half", Half())]).fit(sequences)
    with pytest.raises(ValueError, match="'half' scores 15 items"):
        blend.predict([[1]])


class Shorten(TransformerMixin, BaseEstimator):
    """Leaves an item out."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return [[item for item in row if item != 7] for row in X.histories]


@pytest.mark.parametrize("shift", [1, "text"])
def test_a_frozen_member_must_rank_the_items_of_the_data(shift, sequences):
    rows = [[f"item {i}" if shift == "text" else i + shift for i in row] for row in sequences]
    frozen = FrozenEstimator(MarkovChain().fit(sequences))
    search = GridSearchCV(MarkovChain(), {}, cv=LeaveLastOut())
    RankBlend([("frozen", frozen)]).fit(sequences)
    there = "'item 1'" if shift == "text" else "2"
    for wrapped in (
        frozen,
        Pipeline([("rank", frozen)]),
        FrozenEstimator(Pipeline([("rank", MarkovChain())]).fit(sequences)),
        FrozenEstimator(search.fit(sequences, [1] * len(sequences))),
    ):
        blend = RankBlend([("chain", MarkovChain()), ("frozen", wrapped)])
        with pytest.raises(ValueError, match=rf"'frozen': ranks 30 items.*1, where .* {there}$"):
            blend.fit(rows)
    pipe = Pipeline([("shorten", Shorten()), ("rank", MarkovChain())])
    with pytest.raises(ValueError, match=r"'pipe': ranks 29 items.*column 6 .* item 8, .* 7$"):
        RankBlend([("pipe", pipe)]).fit(sequences)


def test_a_search_counts_as_what_it_has_chosen(sequences):
    """Also where that is another kind of model than the one it was given."""
    split = leave_one_out(sequences)

    def search(given, chosen):
        return GridSearchCV(Pipeline([("rec", given)]), {"rec": [chosen]}, cv=LeaveLastOut())

    pairs = [
        ("neural", search(SequentialRules(), SASRec(**SMALL))),
        ("counts", search(SASRec(**SMALL), SequentialRules())),
    ]
    blend = RankBlend(pairs).fit(split.train, split.validation)
    assert [transform for _, transform, _ in blend._members()] == ["log_softmax", "log"]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"weights": [1.0]}, "weights: expected 2 numbers"),
        ({"weights": [1.0, np.nan]}, "weights must be finite"),
        ({"transforms": ["log", "logg"]}, "transforms: expected"),
        ({"floor": -1.0}, "floor"),
    ],
)
def test_what_is_set_after_fit_is_checked_when_ranking(parameters, message, sequences):
    pairs = [("chain", MarkovChain()), ("rules", SequentialRules())]
    blend = RankBlend(pairs, [0.5, 1]).fit(sequences).set_params(**parameters)
    for rank in (blend.predict, blend.decision_function, blend.recommend):
        with pytest.raises(ValueError, match=message):
            rank([[1, 2]])


# --- a module of one's own ----------------------------------------------------------------------


def test_a_module_may_encode_the_last_items_alone(sequences):
    class LastItem(torch.nn.Module):
        def __init__(self, n_items, dim=8):
            super().__init__()
            self.item_embedding = torch.nn.Embedding(n_items + 1, dim)

        def encode(self, ids, lengths):
            assert self.training or len(ids) <= 2  # but for the two rows that fit tries it on
            return self.item_embedding(ids)

        def encode_last(self, ids, lengths):
            return self.item_embedding(ids[torch.arange(len(ids)), lengths - 1])

    split = leave_one_out(sequences)
    model = SequentialRecommender(LastItem, loss="ce", max_epochs=1, random_state=0, device="cpu")
    model.fit(split.train, split.validation)
    E = model.item_embeddings_
    np.testing.assert_allclose(model.decision_function([[1, 2], [3]]), E[[1, 2]] @ E.T, rtol=1e-5)


@pytest.mark.gpu
@every_model
def test_cuda_ranks_as_the_cpu(name, sequences):
    model = MODELS[name](device="cuda").fit(sequences)
    on_gpu = model.decision_function(ROWS)
    model.net_.set_params(device="cpu")
    model.net_.module_.to("cpu")
    np.testing.assert_allclose(model.decision_function(ROWS), on_gpu, atol=1e-4)
