"""What a frame cache holds, in numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bemerc.cache.read import FrameCache


def summary(cache: FrameCache) -> dict[str, Any]:
    """What a cache holds: ``totals``, and per column the NaN share, mean, std, min and max, for which every row is
    read."""
    return totals(cache) | {"columns": _column_statistics(cache)}


def totals(cache: FrameCache) -> dict[str, Any]:
    """Who made a cache and how much it holds: counts, hours, rate, params, bytes. Reads no row."""
    counts = np.diff(cache._offsets)
    return {
        "path": str(cache.path),
        "modality": cache.modality,
        "extractor": cache.extractor,
        "rate": cache.rate,
        "params": cache.params,
        "utterances": len(cache),
        "failed": len(cache.failures),
        "without_rows": int((counts == 0).sum()),
        "rows": int(counts.sum()),
        "hours": float(np.nansum(cache._duration_s)) / 3600,
        "landmarks": cache.has_landmarks,
        "several_faces": sum(choice.by != "alone" for choice in cache.choices.values()),
        "uncertain_faces": sum(choice.uncertain for choice in cache.choices.values()),
        "others": 0 if cache.others is None else len(cache.others),
        "other_rows": 0 if cache.others is None else int(cache.others._offsets[-1]),
        "bytes": sum(file.stat().st_size for file in cache.files),
    }


def _column_statistics(cache: FrameCache) -> dict[str, dict[str, float]]:
    width, total = len(cache.columns), int(cache._offsets[-1])
    count, first, second = np.zeros(width), np.zeros(width), np.zeros(width)
    low, high = np.full(width, np.inf), np.full(width, -np.inf)
    for start in range(0, total, 1 << 14):
        block = cache.block(start, min(total, start + (1 << 14))).astype(np.float64)
        valid = np.isfinite(block)
        filled = np.where(valid, block, 0.0)
        count += valid.sum(axis=0)
        first += filled.sum(axis=0)
        second += (filled**2).sum(axis=0)
        low = np.minimum(low, np.where(valid, block, np.inf).min(axis=0))
        high = np.maximum(high, np.where(valid, block, -np.inf).max(axis=0))
    return {
        name: _statistics(total, count[i], first[i], second[i], low[i], high[i]) for i, name in enumerate(cache.columns)
    }


def _statistics(total: int, count: float, first: float, second: float, low: float, high: float) -> dict[str, float]:
    if not count:
        return {"nan_share": 1.0 if total else math.nan} | dict.fromkeys(("mean", "std", "min", "max"), math.nan)
    mean = first / count
    std = math.sqrt(max(0.0, second / count - mean**2))
    return {"nan_share": 1 - count / total, "mean": mean, "std": std, "min": float(low), "max": float(high)}
