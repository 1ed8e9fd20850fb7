"""Mining videos for clips of a moving object: the framework of Chrysos & Zafeiriou (2017), section 4."""

from typing import TYPE_CHECKING

from fvdeblur.lazy import lazy_exports

if TYPE_CHECKING:
    from fvdeblur.datasets.mining.correlation import CorrelationSettings, CorrelationTracker
    from fvdeblur.datasets.mining.miner import MinedVideo, mine_video
    from fvdeblur.datasets.mining.parts import Parts, face_parts
    from fvdeblur.datasets.mining.rules import (
        Verdict,
        blockiness,
        movement,
        movement_rule,
        overlap_rule,
        overlaps,
        quality_rule,
        sharpness,
    )
    from fvdeblur.datasets.mining.run import MiningProgress, MiningSummary, mine
    from fvdeblur.datasets.mining.settings import MiningSettings

_HOMES = {
    "CorrelationSettings": "correlation",
    "CorrelationTracker": "correlation",
    "MinedVideo": "miner",
    "MiningProgress": "run",
    "MiningSettings": "settings",
    "MiningSummary": "run",
    "Parts": "parts",
    "Verdict": "rules",
    "blockiness": "rules",
    "face_parts": "parts",
    "mine": "run",
    "mine_video": "miner",
    "movement": "rules",
    "movement_rule": "rules",
    "overlap_rule": "rules",
    "overlaps": "rules",
    "quality_rule": "rules",
    "sharpness": "rules",
}

__all__ = [
    "CorrelationSettings",
    "CorrelationTracker",
    "MinedVideo",
    "MiningProgress",
    "MiningSettings",
    "MiningSummary",
    "Parts",
    "Verdict",
    "blockiness",
    "face_parts",
    "mine",
    "mine_video",
    "movement",
    "movement_rule",
    "overlap_rule",
    "overlaps",
    "quality_rule",
    "sharpness",
]

__getattr__ = lazy_exports(__name__, _HOMES)
