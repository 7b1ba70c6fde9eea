"""A cache in a notebook: DataFrames whose rows are the cache's, curves, and what a cell shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import bemerc
from bemerc.cache import Features, open_cache
from bemerc.core.errors import BemercError, CacheError
from tests.cache.test_cache import COLUMNS, FAILURES, clips, write

pandas = pytest.importorskip("pandas", reason="pandas comes with the extra notebook")
matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")


def test_a_cache_as_a_data_frame_holds_every_row_under_its_id(tmp_path: Path) -> None:
    with bemerc.open_cache(write(tmp_path / "face.h5")) as cache:
        table = cache.to_pandas()
    assert list(table.columns) == list(COLUMNS)
    assert table.index.names == ["id", "time_s"]
    for id_, features, _, _ in clips():
        if len(features.values):
            np.testing.assert_array_equal(table.loc[id_].to_numpy(), features.values)
            np.testing.assert_array_equal(table.loc[id_].index, features.timestamps_s)
    assert not set(FAILURES) & set(table.index.get_level_values("id"))


def test_some_utterances_and_none(tmp_path: Path) -> None:
    with open_cache(write(tmp_path / "face.h5")) as cache:
        some = cache.to_pandas(["m/ütt07", "m/ütt02"])
        assert list(dict.fromkeys(some.index.get_level_values("id"))) == ["m/ütt07", "m/ütt02"]
        nothing = cache.to_pandas([])
        assert (len(nothing), list(nothing.columns), nothing.index.names) == (0, list(COLUMNS), ["id", "time_s"])
        with pytest.raises(CacheError):
            cache.to_pandas(["nobody"])


def test_the_curves_are_the_columns(tmp_path: Path) -> None:
    with open_cache(write(tmp_path / "face.h5")) as cache:
        figure = cache.plot("m/ütt07", ["größe"])
        features = cache["m/ütt07"]
    (line,) = figure.axes[0].lines
    np.testing.assert_array_equal(line.get_ydata(), features.column("größe"))
    np.testing.assert_array_equal(line.get_xdata(), features.timestamps_s)
    assert not matplotlib.pyplot.get_fignums()
    with pytest.raises(CacheError):
        features.plot(["no such column"])


def test_without_names_the_columns_that_move_are_drawn() -> None:
    time = np.arange(50) / 25
    values = np.stack([np.full(50, 3.0), *(np.sin(time * k) for k in range(1, 8)), np.full(50, np.nan)], axis=1)
    features = Features(values.astype(np.float32), time, tuple(f"c{i}" for i in range(9)))
    drawn = [axes.get_ylabel() for axes in features.plot().axes]
    assert len(drawn) == 6
    assert not {"c0", "c8"} & set(drawn)
    assert Features(np.empty((0, 2), np.float32), np.empty(0), ("a", "b")).plot() is not None


def test_what_a_cell_shows_is_short(tmp_path: Path) -> None:
    with open_cache(write(tmp_path / "face.h5")) as cache:
        assert repr(cache).endswith(f"face.h5': face, {len(cache)} utterances, {len(COLUMNS)} columns, rate clip)")
        assert len(repr(cache["m/ütt07"])) < 60


def test_a_missing_library_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with open_cache(write(tmp_path / "face.h5")) as cache, pytest.raises(BemercError):
        cache.to_pandas()


def test_the_public_names_are_those_of_the_api() -> None:
    from bemerc import api

    for name in bemerc.__all__:
        assert getattr(bemerc, name) is (BemercError if name == "BemercError" else getattr(api, name))
    with pytest.raises(AttributeError):
        _ = bemerc.no_such_name
