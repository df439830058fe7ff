"""The measures from batches: for features that do not fit into memory."""

from symjax_lib.similarity.streaming.compare import (
    MEASURES as MEASURES,
    compare as compare,
)
from symjax_lib.similarity.streaming.reading import Taps as Taps
from symjax_lib.similarity.streaming.record import Comparison as Comparison
