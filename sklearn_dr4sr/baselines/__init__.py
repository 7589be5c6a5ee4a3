"""Recommenders that need no gradient: the bar that any regenerated data set has to clear."""

from .ease import EASE
from .infinite_ae import InfiniteAutoencoder
from .markov import MarkovChain
from .melt import MELT
from .popularity import Popularity
from .sequential_rules import SequentialRules
from .user_knn import UserKNN

__all__ = [
    "EASE",
    "MELT",
    "InfiniteAutoencoder",
    "MarkovChain",
    "Popularity",
    "SequentialRules",
    "UserKNN",
]
