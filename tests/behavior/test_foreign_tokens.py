"""Token files of others: every malformed or malicious one is a CacheError, and no other file is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bemerc.behavior.tokens import file as tokens
from bemerc.core.errors import CacheError
from tests.behavior.test_tokens import made, manifest


def again(file: h5py.File, name: str, data: Any, **options: Any) -> None:
    del file[name]
    file.create_dataset(name, data=data, **options)


def outside(file: h5py.File, name: str) -> None:
    """The dataset's bytes come from another file."""
    shape, kind = file[name].shape, file[name].id.get_type()
    secret = Path(file.filename).with_name("secret.bin")
    secret.write_bytes(b"SECRET" * 100_000)
    del file[name]
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_external(str(secret).encode(), 0, h5py.h5f.UNLIMITED)
    h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create_simple(shape), properties)


def virtual(file: h5py.File, name: str) -> None:
    shape, dtype = file[name].shape, file[name].dtype
    other = Path(file.filename).with_name("other.h5")
    with h5py.File(other, "w") as source:
        source["x"] = np.zeros(shape, dtype)
    del file[name]
    layout = h5py.VirtualLayout(shape=shape, dtype=dtype)
    layout[:] = h5py.VirtualSource(str(other), "x", shape=shape)
    file.create_virtual_dataset(name, layout)


def attribute(name: str, value: object) -> Callable[[h5py.File], None]:
    def spoil(file: h5py.File) -> None:
        file.attrs[name] = value

    return spoil


def links(file: h5py.File) -> None:
    del file["face"]
    file["face"] = h5py.ExternalLink("other.h5", "/face")


WAYS: dict[str, Callable[[h5py.File], Any]] = {
    "ids in another file": lambda f: outside(f, "ids"),
    "calibration in another file": lambda f: again(f, "calibration", np.zeros(3, "S9")) or outside(f, "calibration"),
    "values in another file": lambda f: outside(f, "face/values"),
    "mask in another file": lambda f: outside(f, "face/mask"),
    "a mask that is virtual": lambda f: virtual(f, "face/mask"),
    "values that are virtual": lambda f: virtual(f, "face/values"),
    "a linked group": links,
    "ids of many": lambda f: again(f, "ids", np.zeros(20_000_000, "S1"), compression="gzip", chunks=(100_000,)),
    "ids that are wide": lambda f: again(f, "ids", np.zeros(9, "S50000000"), compression="gzip", chunks=(1,)),
    "ids of other lengths": lambda f: again(f, "ids", ["a", "b"], dtype=h5py.string_dtype()),
    "ids that are no text": lambda f: again(f, "ids", np.array([b"\xff"] * len(f["ids"]), "S1")),
    "ids that stand twice": lambda f: again(f, "ids", np.array([b"a"] * len(f["ids"]))),
    "ids that are references": lambda f: again(f, "ids", np.array([f["face"].ref] * 3, h5py.ref_dtype)),
    "no ids": lambda f: f.__delitem__("ids"),
    "a mask of numbers": lambda f: again(f, "face/mask", np.ones(f["face/mask"].shape)),
    "k of another number": attribute("k", 10**9),
    "k of no number": attribute("k", "many"),
    "k of several": attribute("k", np.arange(3)),
    "params without end": attribute("params", "[" * 20_000),
    "params that are a list": attribute("params", "[1]"),
    "params of nan": attribute("params", '{"k": NaN}'),
    "a calibration without end": lambda f: again(f, "calibration", np.bytes_(b"[" * 100_000)),
    "a calibration of lists": lambda f: again(f, "calibration", np.bytes_(json.dumps({"face": [1, 2]}).encode())),
    "a calibration of nan": lambda f: again(
        f, "calibration", np.bytes_(f["calibration"][()].replace(b'"mean": [', b'"mean": [NaN, '))
    ),
    "schemas": attribute("schema", np.array(["bemerc-tokens", "x"], dtype=h5py.string_dtype())),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_a_token_file_may_do_is_refused(tmp_path: Path, way: str) -> None:
    made(tmp_path, manifest()).close()
    with h5py.File(tmp_path / "tokens.h5", "a") as file:
        WAYS[way](file)
    with pytest.raises(CacheError) as refused:
        tokens.open_tokens(tmp_path / "tokens.h5")
    assert len(str(refused.value)) < 1000


def test_mutated_token_files_are_refused_or_read(tmp_path: Path) -> None:
    made(tmp_path, manifest()).close()
    path, generator = tmp_path / "tokens.h5", np.random.default_rng(1)
    whole = path.read_bytes()
    for _ in range(150):
        data = bytearray(whole)
        for at in generator.integers(0, len(data), 8):
            data[at] = generator.integers(256)
        path.write_bytes(data)
        try:
            with tokens.open_tokens(path) as read:
                for id_ in read.ids:
                    read[id_]
        except CacheError:
            continue
