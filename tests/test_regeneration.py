import copy
from itertools import pairwise

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from skorch.callbacks import Callback
from test_exchange import assert_same

from sklearn_dr4sr import DatasetRegenerator, PatternMiner, SequenceDataset, Sequences
from sklearn_dr4sr.baselines import MarkovChain
from sklearn_dr4sr.datasets import make_sequences
from sklearn_dr4sr.metrics import ranking_scorer
from sklearn_dr4sr.model_selection import LeaveLastOut, leave_one_out
from sklearn_dr4sr.recommenders import SASRec
from sklearn_dr4sr.regeneration import assembly, pretraining, regenerator
from sklearn_dr4sr.regeneration.decoding import _draws, decode
from sklearn_dr4sr.regeneration.network import Regenerator
from sklearn_dr4sr.regeneration.pairs import PairBatches, Pairs, source_tokens
from sklearn_dr4sr.regeneration.pretraining import balanced, loss_terms

SMALL = {
    "item_embedding": "random",
    "embedding_dim": 16,
    "hidden_dim": 32,
    "max_epochs": 2,
    "random_state": 0,
}


def small(**parameters):
    return DatasetRegenerator(**(SMALL | parameters))


def network(n_items=20, **parameters):
    torch.manual_seed(0)
    module = Regenerator(
        n_items, **({"embedding_dim": 16, "hidden_dim": 32, "max_pattern_length": 6} | parameters)
    )
    for table in (module.embedding, module.source_position, module.pattern_position):
        torch.nn.init.normal_(table.weight, std=1.0)  # far from ties
    torch.nn.init.normal_(module.explorer.weight, std=0.2)
    module.log_share.copy_(torch.randn(n_items).log_softmax(-1))
    return module.eval()


@pytest.fixture(scope="module")
def sequences():
    return make_sequences(150, 40, mean_length=7, random_state=0)


@pytest.fixture(scope="module")
def data(sequences):
    return PatternMiner(window_size=3).fit_transform(sequences)


@pytest.fixture(scope="module")
def fitted(data):
    table = np.random.default_rng(0).normal(size=(len(data.items), 16))  # apart from the start
    return small(item_embedding=table).fit(data)


def rows_with_repeats(n=12, n_items=20):
    rng = np.random.default_rng(0)
    rows = [rng.integers(n_items, size=rng.integers(1, 9)).tolist() for _ in range(n)]
    return Sequences.from_codes(
        np.concatenate(rows), np.cumsum([0, *map(len, rows)]), np.arange(n_items)
    )


# The network and its loss


def test_gathered_loss_equals_the_full_vocabulary_masked():
    """Also where the source holds an item twice, and where a pattern holds a hidden one."""
    close = {"rtol": 1e-5, "atol": 1e-5}  # sums in another order
    module = network()
    sources = rows_with_repeats()
    assert any(len(set(row)) < len(row) for row in sources)
    patterns = Sequences([[row[0], row[-1], (row[0] + 7) % 20] for row in sources])
    pairs = Pairs(sources, patterns.recode(np.arange(20)), np.arange(len(sources)))
    for hide in (0.0, 1.0):
        batch = next(iter(PairBatches(pairs, 1000, 10, hide, seed=0)))
        terms = loss_terms(module, batch)
        restrictive, generative = [], []
        for pattern, row in zip(batch.pattern, batch.row, strict=True):
            source = batch.source[row][batch.source[row] != module.pad]
            pattern = pattern[pattern != module.pad]
            memories, mask = module.encode(source[None])
            outside = [t for t in pattern[1:].tolist() if t not in source.tolist()]
            shown = [module.pad if t in outside else t for t in pattern.tolist()]
            pi = module.choose(torch.tensor([shown])).exp()
            final = (pi[:, None, :, None] * memories).sum(2)
            states, _ = module.decode(pattern[None, :-1], final, mask)
            logits = states[0] @ module.embedding.weight.T
            summary = final[0].mean(0).expand(len(states[0]), -1)
            asked = torch.cat([states[0], summary], -1) @ module.explorer.weight.T
            free = (asked + module.explorer.bias) @ module.embedding.weight.T
            free[:, : module.eos] += module.log_share
            allowed = torch.full((len(logits.T),), -torch.inf)
            allowed[source[1:]] = 0
            for at, of_all, token in zip(logits, free, pattern[1:].tolist(), strict=True):
                if token in source[1:].tolist():
                    restrictive.append(-(at + allowed).log_softmax(-1)[token])
                if token in outside or (outside and token == module.eos):
                    generative.append(-of_all[: module.eos + 1].log_softmax(-1)[token])
        torch.testing.assert_close(terms["restrictive"], torch.stack(restrictive).mean(), **close)
        torch.testing.assert_close(terms["generative"], torch.stack(generative).mean(), **close)
        every = torch.stack(restrictive + generative)
        torch.testing.assert_close(terms["reconstruction"], every.mean(), **close)


@pytest.mark.parametrize("max_length", [50, 3])
def test_without_hidden_items_only_what_is_cut_off_is_learned_generatively(data, max_length):
    model = small(max_epochs=1, hidden_item_probability=0, max_length=max_length).fit(data)
    kept = [row[-max_length:] for row in data.histories]
    pairs = zip(data.patterns, data.source, data.origin, strict=True)
    cut_off = any(
        origin == "mined" and not set(pattern) <= set(kept[row]) for pattern, row, origin in pairs
    )
    assert (model.history_[0]["generative"] > 0) == cut_off == (max_length == 3)


def test_cached_decoding_equals_uncached():
    module = network()
    memories, mask = module.encode(torch.tensor([[21, 3, 4, 20, 22], [21, 5, 6, 7, 20]]))
    memory = memories[:, :, 1]
    tokens = torch.tensor([[21, 3, 4, 9], [21, 7, 5, 2]])
    whole, _ = module.decode(tokens, memory, mask)
    past = None
    for step in range(4):
        state, past = module.decode(tokens[:, step : step + 1], memory, mask, past)
        torch.testing.assert_close(state[:, 0], whole[:, step], rtol=1e-4, atol=1e-5)


def test_padding_changes_nothing():
    module = network()
    batch = torch.tensor([[21, 3, 4, 20, 22, 22], [21, 5, 6, 7, 8, 20]])
    both, _ = module.encode(batch)
    alone, _ = module.encode(batch[:1, :4])
    torch.testing.assert_close(both[:1, :4], alone)
    torch.testing.assert_close(module.choose(batch)[:1], module.choose(batch[:1, :4]))


def test_one_memory_is_always_chosen():
    module = network(n_memories=1)
    pi = module.choose(torch.tensor([[21, 3, 4, 20]])).exp()
    torch.testing.assert_close(pi, torch.ones(1, 1))


def test_balanced_assignment_is_even_and_nearly_hard():
    log_pi = (
        torch.randn(500, 5, generator=torch.Generator().manual_seed(0))
        .mul(0.1)
        .add(torch.tensor([3.0, 0, 0, 0, 0]))
        .log_softmax(1)
    )
    assert (log_pi.argmax(1) == 0).all()
    q = balanced(log_pi, rounds=20)
    torch.testing.assert_close(q.sum(1), torch.ones(500))
    torch.testing.assert_close(q.sum(0), torch.full((5,), 100.0), rtol=0.05, atol=0)
    assert q.max(1).values.mean() > 0.6  # of .2 .. 1
    for k in range(5):  # who likes a memory more than others do gets it
        assert log_pi[q.argmax(1) == k, k].mean() > log_pi[:, k].mean()
    assert torch.isfinite(balanced(1000 * log_pi)).all()


def test_hidden_items_leave_the_source_and_no_gap():
    sources, patterns = Sequences([[1, 2, 3, 2], [4, 5, 6]]), Sequences([[2, 3], [4, 6], [5, 6]])
    pairs = Pairs(sources, patterns.recode(sources.items), [0, 1, 1])
    hidden_of_first = set()
    for seed in range(30):
        batch = next(iter(PairBatches(pairs, 10, 10, 1.0, seed)))
        # codes are items - 1; EOS, SOS, PAD = 6, 7, 8; the shorter source comes first
        assert batch.source.shape == (2, 6)
        for source, candidates in zip(
            batch.source.tolist(), batch.candidates.tolist(), strict=True
        ):
            items = source[1 : source.index(6)]
            assert source == [7, *items, 6] + [8] * (4 - len(items))
            assert sorted(candidates)[: len(set(items)) + 1] == sorted({*items, 6})
            if 0 in items:
                hidden_of_first.add(tuple(items))
    assert hidden_of_first == {(0, 2), (0, 1, 1)}


def test_an_epoch_holds_every_pair_once_up_to_the_cap(data):
    table = data.table[data.origin == "mined"]
    pairs = Pairs(data.histories, table.sequences, table.source)
    counts = np.bincount(table.source)
    for cap in (3, 1000):
        batches = list(PairBatches(pairs, 64, cap, 0.5, seed=0))
        assert sum(len(b.row) for b in batches) == np.minimum(counts, cap).sum()
        assert max(len(b.row) for b in batches) < 64 + counts.max()


# Decoding


def one_by_one(module, sources, gamma, seed):
    """Hybrid inference as it is told: no batch, no cache, the whole vocabulary masked."""
    decoded, modes = [], []
    for source in sources:
        coins, _ = _draws(Sequences([source]).recode(np.arange(20)), 5, 6, seed)
        tokens, _ = source_tokens(np.array([source]), module.eos)
        memories, mask = module.encode(tokens)
        for k in range(5):
            pattern = []
            for step in range(6):
                tokens = torch.tensor([[module.sos, *pattern]])
                states, _ = module.decode(tokens, memories[:, :, k], mask)
                scores = states[0, -1] @ module.embedding.weight.T
                if coins[0, k, step] < gamma:
                    asked = torch.cat([states[0, -1], memories[0, :, k].mean(0)])
                    scores = module.explorer(asked) @ module.embedding.weight.T
                    likely = (scores[: module.eos] + module.log_share).exp()
                    likely[pattern] = 0
                    ends = scores[module.eos].exp() > likely.sum()
                    scores[module.eos] = torch.inf if ends else -torch.inf
                else:
                    outside = [t for t in range(module.eos) if t not in source]
                    scores[outside] = -torch.inf
                scores[[module.sos, module.pad, *pattern]] = -torch.inf
                if scores.argmax() == module.eos:
                    break
                pattern.append(int(scores.argmax()))
            decoded.append(pattern)
            modes.extend(coins[0, k, : len(pattern)] < gamma)
    return decoded, modes


@pytest.mark.parametrize("gamma", [0, 0.5, 1])
def test_decoding_equals_a_plain_loop(gamma):
    module, sources = network(), rows_with_repeats()
    patterns, row, memory, generative = decode(
        module, sources, generative_probability=gamma, seed=3
    )
    with torch.no_grad():
        expected, modes = one_by_one(module, sources, gamma, seed=3)
    assert list(patterns) == expected
    assert generative.tolist() == modes
    assert row.tolist() == np.repeat(np.arange(12), 5).tolist()
    assert memory.tolist() == [0, 1, 2, 3, 4] * 12
    assert max(map(len, expected)) > 2  # or this test would see little


@pytest.mark.parametrize("temperature", [0, 1.0])
def test_rows_are_decoded_alike_alone_and_together(temperature, monkeypatch):
    module, sources = network(), rows_with_repeats()
    arguments = {"generative_probability": 0.5, "temperature": temperature, "seed": 1}
    together, *_ = decode(module, sources, **arguments)
    for i in range(12):
        alone, *_ = decode(module, sources[i : i + 1], **arguments)
        assert list(alone) == list(together[5 * i : 5 * i + 5])
    monkeypatch.setattr(
        "sklearn_dr4sr.regeneration.decoding.CHUNK_TOKENS", {"cpu": 200, "cuda": 200}
    )
    assert decode(module, sources, **arguments)[0] == together


def test_draws_are_uniform_and_differ():
    sources = Sequences([[1, 2], [2, 1], [1], [1, 2]])
    coins, draws = _draws(sources, 50, 200, seed=0)
    np.testing.assert_array_equal(coins[0], coins[3])
    distinct = np.concatenate([coins[:3].ravel(), draws[:3].ravel()])
    assert len(np.unique(distinct)) == len(distinct)
    assert abs(distinct.mean() - 0.5) < 0.01
    assert abs(np.corrcoef(coins[0].ravel(), coins[1].ravel())[0, 1]) < 0.05
    assert not np.array_equal(coins, _draws(sources, 50, 200, seed=1)[0])


def test_temperature_draws_from_the_softmax():
    from sklearn_dr4sr.regeneration.decoding import _pick

    scores = torch.tensor([[0.0, -torch.inf, np.log(3.0), -torch.inf]]).repeat(4000, 1)
    draw = torch.linspace(0, 1 - 1e-9, 4000, dtype=torch.float64)
    counts = torch.bincount(_pick(scores, 1.0, draw), minlength=4)
    assert counts.tolist() == [1000, 0, 3000, 0]


# The estimator


def test_restrictive_patterns_are_of_the_source_and_never_repeat(data, fitted):
    made = clone(fitted).set_params(generative_probability=0).fit(data).transform(data)
    regenerated = made.table[made.origin == "regenerated"]
    assert len(regenerated) > 0
    for pattern, row in zip(regenerated.sequences, regenerated.source, strict=True):
        assert set(pattern) <= set(data.histories[int(row)])
        assert len(set(pattern)) == len(pattern) >= 2


def test_items_from_the_catalogue_are_noted(data, fitted):
    made = copy.copy(fitted).set_params(generative_probability=0.5).transform(data)
    table, rows = made.table, made.patterns.rows
    regenerated = (made.origin == "regenerated")[rows]
    assert not table.generative[~regenerated].any()
    assert 0 < table.generative[regenerated].mean() < 1
    for item, row, generative in zip(
        made.patterns.items[made.patterns.codes], made.source[rows], table.generative, strict=True
    ):
        assert generative or item in made.histories[int(row)]
    half = made[::2]  # flags follow their rows
    expected = [table.generative[made.source[rows] == row] for row in range(0, len(made), 2)]
    np.testing.assert_array_equal(half.table.generative, np.concatenate(expected))


def test_regenerated_data_set_is_original_mined_and_regenerated_once(data, fitted):
    made = fitted.transform(data)
    assert len(made) == len(data)
    table = made.table
    assert (np.diff(table.source) >= 0).all()
    assert list(table.sequences[made.origin == "original"]) == list(data.histories)
    keys = [tuple(p) for p in made.patterns]
    of = {o: [k for k, x in zip(keys, made.origin, strict=True) if x == o] for o in made.origin}
    mined = {tuple(p) for p in data.table[data.origin == "mined"].sequences}
    assert set(of["mined"]) == mined
    assert len(of["mined"]) == len(mined)
    assert (table.support[made.origin == "mined"] >= 2).all()
    assert len(set(of["regenerated"])) == len(of["regenerated"]) > 0
    assert not set(of["regenerated"]) & (mined | set(of["original"]))
    memory = table.memory
    assert (memory[made.origin != "regenerated"] == -1).all()
    assert set(memory[made.origin == "regenerated"]) <= set(range(5))
    first = {}
    for row, pattern in zip(data.source, data.patterns, strict=True):
        first.setdefault(tuple(pattern), row)
    for row, key, origin in zip(made.source, keys, made.origin, strict=True):
        assert origin != "mined" or first[key] == row
    report = fitted.report_
    assert report["n_decoded"] == 5 * len(data)
    assert report["n_new"] == len(of["regenerated"])
    assert 0 < report["unique_per_decode"] <= 1
    assert 0 <= report["share_already_mined"] <= 1


@pytest.mark.parametrize("include", [("original",), ["mined", "regenerated"]])
def test_include_chooses(data, fitted, include):
    made = clone(fitted).set_params(include=include).fit(data).transform(data)
    assert set(made.origin) == set(include)
    assert len(made) == len(data)


def test_patterns_are_made_when_first_read(data, fitted, monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError("decoded")

    monkeypatch.setattr(assembly, "decode", fail)
    made = fitted.transform(data)
    assert made.histories == data.histories
    with pytest.raises(AssertionError, match="decoded"):
        made.patterns  # noqa: B018


def test_fit_transform_equals_fit_then_transform(data):
    model = small(generative_probability=0.3, max_epochs=1)
    once = model.fit_transform(data)
    twice = clone(model).fit(data).transform(data)
    assert once.patterns == twice.patterns
    np.testing.assert_array_equal(once.source, twice.source)
    assert twice.patterns == model.transform(data).patterns


def test_joblib_round_trip_gives_the_same_data_set(data, fitted, tmp_path):
    joblib.dump(fitted, tmp_path / "regenerator.joblib")
    loaded = joblib.load(tmp_path / "regenerator.joblib")
    assert loaded.transform(data).patterns == fitted.transform(data).patterns
    numbers = sum(p.numel() for p in fitted.net_.module_.parameters())
    size = (tmp_path / "regenerator.joblib").stat().st_size
    assert size < 4 * numbers + 100_000  # no optimizer in it


@pytest.mark.gpu
def test_cuda_decodes_as_the_cpu(data):
    """But for scores that differ by rounding alone, which decide few patterns."""
    table = np.random.default_rng(0).normal(size=(len(data.items), 16))
    model = small(item_embedding=table, device="cuda").fit(data)
    assert all(np.isfinite(epoch["train_loss"]) for epoch in model.history_)
    on_gpu = {tuple(p) for p in model.transform(data).patterns}
    model.net_.set_params(device="cpu")
    model.net_.module_.to("cpu")
    on_cpu = {tuple(p) for p in model.transform(data).patterns}
    assert len(on_gpu ^ on_cpu) <= 0.02 * len(on_cpu)


def test_gamma_may_be_set_after_fit(data, fitted):
    refitted = clone(fitted).set_params(generative_probability=1.0).fit(data)
    changed = copy.deepcopy(fitted).set_params(generative_probability=1.0)
    assert changed.transform(data).patterns == refitted.transform(data).patterns


def test_strings_unknown_items_and_empty_rows(data, sequences, fitted):
    named = [[f"item {i:03d}" for i in row] for row in sequences]
    text = clone(fitted).fit(PatternMiner(window_size=3).fit_transform(named))
    made = text.transform(PatternMiner(window_size=3).fit_transform(named))
    of_numbers = fitted.transform(data)
    assert list(made.patterns) == [[f"item {i:03d}" for i in p] for p in of_numbers.patterns]
    odd = fitted.transform([[], [99_999], [1, 99_999, 2], [3]])
    assert len(odd) == 4
    assert list(odd.table.sequences[odd.origin == "original"]) == [[99_999], [1, 99_999, 2], [3]]
    regenerated = odd.table[odd.origin == "regenerated"]
    assert 0 not in regenerated.source
    assert all(99_999 not in p for p in regenerated.sequences)


@pytest.mark.parametrize(
    "include", [("original", "mined", "regenerated"), ("mined", "regenerated")]
)
@pytest.mark.parametrize("mined", [True, False])
@pytest.mark.parametrize("edges", [(0, 50, 100, 150), (0, 1, 149, 150), (0, 150)])
def test_shards_put_together_are_one_run(sequences, data, fitted, edges, mined, include):
    regenerator = copy.copy(fitted).set_params(include=include, temperature=2.0)
    regenerator._miner = None if mined else PatternMiner(window_size=3).fit(sequences)
    rows = data if mined else sequences

    def made(start, stop):
        shard = regenerator.transform(rows[start:stop])
        items = shard.patterns.items[shard.patterns.codes]
        return SequenceDataset(shard.histories, shard.table, items % 7)

    stacked = SequenceDataset.concatenate([made(*ends) for ends in pairwise(edges)])
    expected = made(0, 150)
    assert_same(stacked.deduplicate(), expected)
    for origin in ("mined", "regenerated"):
        once, stored = ((each.origin == origin).sum() for each in (expected, stacked))
        assert 20 < once < stored or len(edges) == 2  # some come from two shards


def test_plain_sequences_are_mined_first(sequences):
    plain = small().fit(sequences)
    mined = PatternMiner().fit_transform(sequences)
    expected = small().fit(mined)
    assert plain.transform(sequences).patterns == expected.transform(mined).patterns


class Interrupt(Callback):
    def on_batch_end(self, net, **kwargs):
        if len(net.history) == 2:
            raise KeyboardInterrupt


def test_interrupted_fit_is_usable_and_not_cached(data, tmp_path):
    model = small(max_epochs=5, memory=str(tmp_path), callbacks=[Interrupt()])
    with pytest.warns(UserWarning, match="interrupted in epoch 2 of max_epochs=5"):
        model.fit(data)
    assert len(model.transform(data).patterns) > 0
    whole = clone(model).set_params(callbacks=None).fit(data)
    assert len(whole.history_) == 5


class InterruptOnce(Callback):
    """Interrupt the first training that has it, or a copy, in its first epoch."""

    armed = True

    def on_batch_end(self, net, **kwargs):
        if InterruptOnce.armed:
            InterruptOnce.armed = False
            raise KeyboardInterrupt


@pytest.mark.parametrize("form", ["sasrec", "estimator"])
def test_interrupted_item_embedding_ends_the_fit_and_is_not_cached(
    data, form, tmp_path, monkeypatch
):
    monkeypatch.setattr(InterruptOnce, "armed", True)
    recommender = SASRec(embedding_dim=16, hidden_dim=16, max_epochs=2, random_state=0)
    if form == "sasrec":
        monkeypatch.setitem(regenerator.SASREC, "callbacks", [InterruptOnce()])
        monkeypatch.setitem(regenerator.SASREC, "max_epochs", 2)
        recommender = form
    else:
        recommender.set_params(callbacks=[InterruptOnce()])
    folder = tmp_path / "checkpoints"
    model = small(item_embedding=recommender, memory=str(tmp_path), checkpoint_dir=folder)
    with pytest.warns(UserWarning, match="interrupted") as told:
        model.fit(data)
    assert [str(warning.message)[:48] for warning in told] == [
        "interrupted while item_embedding was trained: th"
    ]
    assert model.history_ == []
    assert len(model.transform(data).patterns) > 0
    again = clone(model).fit(data)
    assert len(again.history_) == 2
    whole = clone(model).set_params(memory=None).fit(data)
    for name, weights in whole.net_.module_.state_dict().items():
        torch.testing.assert_close(again.net_.module_.state_dict()[name], weights, rtol=0, atol=0)


@pytest.fixture
def trainings(monkeypatch):
    """Count pre-trainings."""
    count = []
    train = pretraining.RegeneratorNet.partial_fit

    def counted(self, *args, **kwargs):
        count.append(1)
        return train(self, *args, **kwargs)

    monkeypatch.setattr(pretraining.RegeneratorNet, "partial_fit", counted)
    return count


def test_a_grid_over_gamma_trains_once(sequences, trainings, tmp_path):
    split = leave_one_out(sequences)
    pipe = Pipeline(
        [
            ("mine", PatternMiner(window_size=3)),
            ("regenerate", small(memory=str(tmp_path))),
            ("recommend", MarkovChain()),
        ]
    )
    grid = {"regenerate__generative_probability": [0, 0.1, 0.3, 0.5, 1]}
    scoring = ranking_scorer("ndcg@20")
    search = GridSearchCV(pipe, grid, cv=LeaveLastOut(), scoring=scoring, refit="ndcg@20")
    search.fit(split.train, split.validation)
    assert len(trainings) == 1
    best = search.best_estimator_
    alone = clone(best).set_params(regenerate__memory=None).fit(split.train)
    np.testing.assert_array_equal(best.predict(split.history), alone.predict(split.history))
    clone(best).set_params(regenerate__diversity_factor=2).fit(split.train)
    clone(best).set_params(regenerate__random_state=1).fit(split.train)
    assert len(trainings) == 4


def test_nothing_global_is_touched(data):
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    before = np.random.get_state()[1].copy(), torch.random.get_rng_state()  # noqa: NPY002
    threads = torch.get_num_threads()
    small(max_epochs=1, random_state=None).fit(data).transform(data).patterns  # noqa: B018
    np.testing.assert_array_equal(np.random.get_state()[1], before[0])  # noqa: NPY002
    assert torch.equal(torch.random.get_rng_state(), before[1])
    assert torch.get_num_threads() == threads
    assert torch.tensor([1e-40]).mul(1.0).item() != 0  # denormals as before


# Item embeddings


def test_item_embedding_given_as_an_array_or_a_recommender(data, sequences, monkeypatch):
    received = []

    def receive(histories, patterns, row, embedding, **rest):
        received.append(embedding)
        return pretraining.pretrain(histories, patterns, row, embedding, **rest)

    monkeypatch.setattr(regenerator, "pretrain", receive)

    def embedding_of(given):
        small(item_embedding=given, max_epochs=1).fit(data)
        return received.pop()

    items = data.items
    table = np.random.default_rng(0).normal(size=(len(items), 16)).astype(np.float32)
    np.testing.assert_array_equal(embedding_of(table), table)
    assert embedding_of("random") is None

    class Recommender(BaseEstimator):
        def fit(self, X):
            raise AssertionError("fitted again")

    known = Recommender()
    known.items_, known.item_embeddings_ = items[::2], table[::2]
    aligned = embedding_of(known)
    np.testing.assert_array_equal(aligned[::2], table[::2])
    assert 0 < np.abs(aligned[1::2]).max() < 0.2


@pytest.mark.parametrize("form", ["sasrec", "estimator", "frozen"])
def test_item_embedding_of_sasrec(data, form, monkeypatch):
    monkeypatch.setitem(regenerator.SASREC, "max_epochs", 1)
    given = form
    if form != "sasrec":
        given = SASRec(embedding_dim=16, hidden_dim=16, max_epochs=1, random_state=0)
    if form == "frozen":
        given = FrozenEstimator(given.fit(data.histories))
    unfitted = small(item_embedding=given, max_epochs=1)
    assert len(clone(unfitted).fit(data).transform(data).patterns) > len(data)


# What training achieves


def test_a_toy_set_is_learned_by_heart():
    rows = [[10 * i + j for j in range(4)] for i in range(6)]
    patterns = [part for row in rows for part in ([row[0], row[2]], [row[3], row[1]])]
    data = SequenceDataset(rows, patterns, source=np.repeat(np.arange(6), 2), origin="mined")
    model = small(diversity_factor=2, generative_probability=0, dropout=0, lr=1e-2, max_epochs=60)
    model.set_params(hidden_item_probability=0, n_layers=1).fit(data)
    decoded, row, *_ = decode(model.net_.module_, data.histories, generative_probability=0)
    own = [
        pattern in (patterns[2 * r], patterns[2 * r + 1])
        for pattern, r in zip(decoded, row, strict=True)
    ]
    assert all(own)
    assert len({tuple(pattern) for pattern in decoded}) >= 10  # of 12
    assert len(model.transform(data).patterns) == 18  # nothing new


@pytest.fixture(scope="module")
def trained():
    """A regenerator of sequences with a planted grammar: of an item follow two others, mostly."""
    grammar = {"n_successors": 2, "noise": 0.1, "skip": 0.2, "mean_length": 7}
    sequences = make_sequences(400, 60, **grammar, random_state=0)
    shape = {"embedding_dim": 32, "hidden_dim": 64, "n_layers": 1, "lr": 5e-3, "batch_size": 64}
    embedding = SASRec(**shape, loss="ce", dropout=0.2, max_epochs=20, random_state=0)
    model = DatasetRegenerator(
        **shape, dropout=0.1, item_embedding=embedding, max_epochs=12, random_state=0
    )
    data = PatternMiner(window_size=3, min_support=3).fit_transform(sequences)
    return model.fit(data), data


@pytest.mark.slow
def test_no_memory_takes_over_and_none_dies(trained):
    model, data = trained
    assert len(model.memory_usage_) == 5
    assert model.memory_usage_.max() < 0.6
    assert model.memory_usage_.min() > 0.02
    assert model.report_["memory_usage_entropy"] > 1.2  # of log 5 = 1.61
    decoded, row, *_ = decode(model.net_.module_, data.histories, generative_probability=0)
    distinct = {(r, *pattern) for pattern, r in zip(decoded, row, strict=True)}
    assert len(distinct) / len(data) > 3.5  # of 5
    own = {(r, *pattern) for pattern, r in zip(data.patterns, data.source, strict=True)}
    assert np.mean([(r, *p) in own for p, r in zip(decoded, row, strict=True)]) > 0.4


def test_generative_mode_makes_plausible_patterns_of_items_outside_the_source(trained):
    model, data = trained
    histories, n_items = data.histories, len(model.items_)
    counts = np.full((n_items, n_items), 0.05)
    for gap in (1, 2):
        at = np.flatnonzero(histories.rows[gap:] == histories.rows[:-gap])
        np.add.at(counts, (histories.codes[at], histories.codes[at + gap]), 1 / gap)
    markov = np.log(counts / counts.sum(1, keepdims=True))

    def likelihood(sequences):
        at = np.flatnonzero(sequences.rows[1:] == sequences.rows[:-1])
        source, target = sequences.codes[at], sequences.codes[at + 1]
        shuffled = np.random.default_rng(0).permutation(target)
        return markov[source, target].mean(), markov[source, shuffled].mean()

    decoded, row, *_ = decode(model.net_.module_, histories, generative_probability=1)
    outside = [
        item not in set(histories[int(r)])
        for pattern, r in zip(decoded, row, strict=True)
        for item in pattern
    ]
    assert np.mean(outside) > 0.4  # .63 to .84 over six seeds
    made, _ = likelihood(decoded)
    _, random = likelihood(histories)
    assert made > random + 0.5  # .8 to 3.0 over four seeds


# Bad input


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("generative_probability", 1.5),
        ("generative_probability", "high"),
        ("diversity_factor", 0),
        ("diversity_factor", 2.0),
        ("max_pairs", 0),
        ("max_pattern_length", 1),
        ("max_epochs", 0),
        ("include", "mined"),
        ("include", ()),
        ("include", ("mined", "invented")),
        ("temperature", -1),
        ("hidden_item_probability", -0.1),
        ("balance", -1),
        ("dropout", 1.0),
        ("lr", 0),
        ("n_heads", 3),
        ("item_embedding", "word2vec"),
        ("item_embedding", np.zeros((3, 16))),
        ("item_embedding", 7),
        ("device", "abacus"),
        ("random_state", "seed"),
    ],
)
def test_bad_parameters_are_named(data, parameter, value):
    with pytest.raises(ValueError, match=parameter) as error:
        small(**{parameter: value}).fit(data)
    shown = "(3, 16)" if isinstance(value, np.ndarray) else str(value)
    assert shown in str(error.value)


def test_parameters_are_checked_again_by_transform(data, fitted):
    changed = copy.deepcopy(fitted).set_params(generative_probability=2)
    with pytest.raises(ValueError, match=r"generative_probability.*2"):
        changed.transform(data)


def test_bad_input(data):
    with pytest.raises(NotFittedError):
        small().transform(data)
    with pytest.raises(TypeError, match="row 0"):
        small().fit(["not", "sequences"])
    with pytest.raises(ValueError, match="min_support"):
        small().fit([[1, 2, 3], [4, 5, 6]])
    long = SequenceDataset([[1, 2, 3]], [[1, 2, 3]], origin="mined")
    with pytest.raises(ValueError, match="max_pattern_length=2"):
        small(max_pattern_length=2).fit(long)


def test_what_is_not_made_use_of_is_told(data, fitted):
    weighted = SequenceDataset(data.histories, data.table, np.ones(len(data.patterns.codes)))
    with pytest.warns(UserWarning, match="drops the weights of X"):
        made = fitted.transform(weighted).deduplicate()
    assert made.patterns == fitted.transform(data).patterns
    with pytest.warns(UserWarning, match=r"drops \d+ regenerated patterns of X"):
        fitted.transform(made).table  # noqa: B018


def test_item_embeddings_that_do_not_serve_are_named(data):
    with pytest.raises(TypeError, match="with item_embeddings_, got MarkovChain, which learns"):
        small(item_embedding=MarkovChain()).fit(data)
    other = SASRec(embedding_dim=16, max_epochs=1).fit([["a", "b"], ["b", "a"]])
    with pytest.raises(ValueError, match="item_embedding was fitted on other items"):
        small(item_embedding=other).fit(data)
