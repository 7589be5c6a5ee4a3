"""Pictures of data sets, training and rankings, in the manner of scikit-learn's displays."""

from .history import HistoryDisplay
from .hit_rate import HitRateDisplay
from .learning_curve import LearningCurveDisplay
from .parameter_curve import ParameterCurveDisplay
from .pattern_length import PatternLengthDisplay
from .pattern_support import PatternSupportDisplay
from .pattern_weights import PatternWeightsDisplay
from .popularity import PopularityDisplay
from .relative_score import RelativeScoreDisplay

__all__ = [
    "HistoryDisplay",
    "HitRateDisplay",
    "LearningCurveDisplay",
    "ParameterCurveDisplay",
    "PatternLengthDisplay",
    "PatternSupportDisplay",
    "PatternWeightsDisplay",
    "PopularityDisplay",
    "RelativeScoreDisplay",
]
