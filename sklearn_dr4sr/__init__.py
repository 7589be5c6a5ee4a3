"""Dataset Regeneration for Sequential Recommendation (DR4SR) as scikit-learn estimators."""

from ._versions import show_versions
from .dataset import SequenceDataset
from .mining import PatternMiner
from .personalization import DatasetPersonalizer
from .regeneration import DatasetRegenerator
from .sequences import Sequences

__all__ = [
    "DatasetPersonalizer",
    "DatasetRegenerator",
    "PatternMiner",
    "SequenceDataset",
    "Sequences",
    "show_versions",
]
__version__ = "0.1.0"
