"""Metrics of rankings, a scorer for searches, and paired comparisons of two rankings."""

from .accuracy import (
    HeadTailRecall,
    head_tail_recall_at_k,
    hit_rate_at_k,
    map_at_k,
    mrr_at_k,
    ndcg_at_k,
    ndcg_of_ranks,
    ranks,
    recall_at_k,
)
from .beyond_accuracy import (
    average_popularity_at_k,
    coverage_at_k,
    gini,
    gini_at_k,
    intra_list_diversity_at_k,
    novelty_at_k,
)
from .comparison import Comparison, compare_rankings, compare_to_baseline, holm, sign_flip_test
from .scorer import ranking_scorer

__all__ = [
    "Comparison",
    "HeadTailRecall",
    "average_popularity_at_k",
    "compare_rankings",
    "compare_to_baseline",
    "coverage_at_k",
    "gini",
    "gini_at_k",
    "head_tail_recall_at_k",
    "hit_rate_at_k",
    "holm",
    "intra_list_diversity_at_k",
    "map_at_k",
    "mrr_at_k",
    "ndcg_at_k",
    "ndcg_of_ranks",
    "novelty_at_k",
    "ranking_scorer",
    "ranks",
    "recall_at_k",
    "sign_flip_test",
]
