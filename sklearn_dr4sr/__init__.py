"""Dataset Regeneration for Sequential Recommendation (DR4SR) as scikit-learn estimators."""

from .dataset import SequenceDataset
from .sequences import Sequences

__all__ = ["SequenceDataset", "Sequences"]
__version__ = "0.1.0"
