"""The protocol of a module of one's own: what breaks it is named before it trains."""

import numpy as np
import pytest
import torch
from test_models import MODELS
from torch import nn

from sklearn_dr4sr.datasets import make_sequences
from sklearn_dr4sr.recommenders import SequentialRecommender, base
from sklearn_dr4sr.recommenders.protocol import check_module

ROWS = make_sequences(60, 20, random_state=0)
TINY = {"loss": "ce", "max_epochs": 1, "device": "cpu", "random_state": 0}


def recommender(module, **parameters):
    return SequentialRecommender(module, **{**TINY, **parameters})


class Plain(nn.Module):
    """A recurrent network, as it should be."""

    options = {"batch_first": True}

    def __init__(self, n_items, dim=8):
        super().__init__()
        self.item_embedding = nn.Embedding(n_items + 1, dim)
        self.layer = nn.GRU(dim, dim, **self.options)

    def encode(self, ids, lengths):
        return self.layer(self.item_embedding(ids))[0]


class RowsAsTime(Plain):
    options = {}


class TimeFirst(Plain):
    options = {}

    def encode(self, ids, lengths):
        return self.layer(self.item_embedding(ids).transpose(0, 1))[0]


class Bidirectional(Plain):
    def encode(self, ids, lengths):
        x = self.item_embedding(ids)
        return self.layer(x)[0] + self.layer(x.flip(1))[0].flip(1)


class Packed(Bidirectional):
    """Each state knows the whole of its row, and nothing else."""

    def encode(self, ids, lengths):
        real = (torch.arange(ids.shape[1]) < lengths[:, None])[:, :, None]
        x = torch.where(real, self.item_embedding(ids), 0)
        return self.layer(x)[0] + x.sum(1, keepdim=True)


class Unmasked(Plain):
    """A transformer without the causal mask, with weights as small as they are often drawn."""

    def __init__(self, n_items, dim=8):
        super().__init__(n_items, dim)
        self.layer = nn.TransformerEncoderLayer(dim, 2, 16, batch_first=True)
        for weight in self.parameters():
            nn.init.normal_(weight, std=0.02)

    def encode(self, ids, lengths):
        return self.layer(self.item_embedding(ids))


class SeesPadding(Plain):
    def encode(self, ids, lengths):
        padding = (ids == self.item_embedding.num_embeddings - 1).sum(1)
        return super().encode(ids, lengths) + 0.1 * padding[:, None, None]


class ByChance(Plain):
    def encode(self, ids, lengths):
        return nn.functional.dropout(super().encode(ids, lengths))


class WithoutPadding(Plain):
    def __init__(self, n_items, dim=8):
        super().__init__(n_items - 1, dim)


class WithoutEmbedding(Plain):
    def __init__(self, n_items, dim=8):
        super().__init__(n_items, dim)
        self.items = self.__dict__["_modules"].pop("item_embedding")


class Weights(Plain):
    def __init__(self, n_items, dim=8):
        super().__init__(n_items, dim)
        self.item_embedding = nn.Parameter(torch.zeros(n_items + 1, dim))


class WithoutEncode(nn.Module):
    def __init__(self, n_items):
        super().__init__()
        self.item_embedding = nn.Embedding(n_items + 1, 8)


class LastOnly(Plain):
    def encode(self, ids, lengths):
        return super().encode(ids, lengths)[:, -1]


class Wide(Plain):
    def encode(self, ids, lengths):
        return super().encode(ids, lengths).repeat(1, 1, 2)


class Double(Plain):
    def encode(self, ids, lengths):
        return super().encode(ids, lengths).double()


class Pair(Plain):
    def encode(self, ids, lengths):
        return self.layer(self.item_embedding(ids))


class Infinite(Plain):
    def encode(self, ids, lengths):
        return super().encode(ids, lengths) / 0


class OtherLast(Plain):
    def encode_last(self, ids, lengths):
        return self.encode(ids, lengths)[:, -1]


class OtherGroups(Plain):
    def encode_groups(self, ids, lengths):
        pairs = zip(ids, lengths, strict=True)
        return torch.cat([self.encode(i, n).flatten(0, 1) for i, n in pairs]).flip(0)


class VectorLoss(Plain):
    def extra_loss(self, groups):
        return torch.ones(3)


class NoLoss(Plain):
    def extra_loss(self, groups):
        return None


@pytest.mark.parametrize(
    ("module", "error", "message"),
    [
        (RowsAsTime, ValueError, "encode: the states of a row change with the other rows"),
        (TimeFirst, ValueError, r"encode must return states of shape \(2, 3, 8\).*\(3, 2, 8\)"),
        (Bidirectional, ValueError, "encode: states change with later items"),
        (Packed, ValueError, "encode: states change with later items"),
        (Unmasked, ValueError, "encode: states change with later items"),
        (SeesPadding, ValueError, "the padding of its batch"),
        (ByChance, ValueError, "encode: "),
        (WithoutPadding, ValueError, r"item_embedding must have .* 21 rows or more.* got 20"),
        (WithoutEmbedding, TypeError, "item_embedding must be a .*, got NoneType"),
        (Weights, TypeError, "item_embedding must be a .*, got Parameter"),
        (WithoutEncode, TypeError, "must have a method encode"),
        (LastOnly, ValueError, r"got \(2, 8\) in torch.float32"),
        (Wide, ValueError, r"got \(2, 3, 16\) in torch.float32"),
        (Double, ValueError, r"got \(2, 3, 8\) in torch.float64"),
        (Pair, TypeError, "encode must return a tensor, got tuple"),
        (Infinite, ValueError, "encode returned NaN or infinite states"),
        (OtherLast, ValueError, "encode_last: these are not the last states of encode"),
        (OtherGroups, ValueError, "encode_groups: these are not the states of encode"),
        (VectorLoss, ValueError, r"extra_loss must return a scalar, got shape \(3,\)"),
        (NoLoss, TypeError, "extra_loss must return a scalar, got NoneType"),
    ],
)
def test_what_breaks_the_protocol_is_named(module, error, message):
    model = recommender(module)
    with pytest.raises(error, match=f"^{module.__name__}[. ].*{message}"):
        model.fit(ROWS)
    assert not hasattr(model, "net_")


def test_where_the_last_state_counts_alone_it_may_depend_on_the_whole_row():
    model = recommender(Packed, targets="last").fit(ROWS)
    one = model.decision_function([[1, 2, 3]])
    together = model.decision_function([[1, 2, 3], [4], [5, 6, 7, 8]])
    np.testing.assert_allclose(one[0], together[0], atol=1e-5)
    with pytest.raises(ValueError, match="the padding of its batch"):
        recommender(Bidirectional, targets="last").fit(ROWS)


class Restless(Plain):
    """Draws numbers that it does not use, and remembers in which mode it was called."""

    def __init__(self, n_items, dim=8):
        super().__init__(n_items, dim)
        self.modes = []

    def encode(self, ids, lengths):
        torch.rand(3)
        self.modes.append((self.training, torch.is_grad_enabled()))
        return super().encode(ids, lengths)


def test_trying_a_module_changes_nothing(monkeypatch):
    tried = recommender(Restless).fit(ROWS)
    assert tried.net_.module_.modes[0] == (False, False)
    monkeypatch.setattr(base, "check_module", lambda *args, **kwargs: None)
    untried = recommender(Restless).fit(ROWS)
    assert untried.net_.module_.modes[0] == (True, True)
    np.testing.assert_array_equal(tried.item_embeddings_, untried.item_embeddings_)
    module = Restless(5)
    for training in (True, False):
        before = torch.get_rng_state()
        check_module(module.train(training), 5, 12, "all")
        assert (module.training, module.layer.training) == (training, training)
        assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("n_items", [1, 2, 5])
@pytest.mark.parametrize("max_length", [1, 2, 3])
def test_small_catalogues_and_short_inputs(n_items, max_length):
    class Positions(Plain):
        def __init__(self, n_items):
            super().__init__(n_items)
            self.position = nn.Embedding(max_length, 8)

        def encode(self, ids, lengths):
            return super().encode(ids, lengths) + self.position.weight[: ids.shape[1]]

    check_module(Positions(n_items), n_items, max_length, "all")


@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_packages_own_modules_keep_to_it(name):
    model = MODELS[name]().fit(ROWS)
    check_module(model.net_.module_, len(model.items_), model.max_length, "all")


def test_the_number_of_items_is_not_a_parameter():
    with pytest.raises(ValueError, match="module__n_items=5: n_items is the size of the catalogue"):
        recommender(Plain, module__n_items=5).fit(ROWS)
