"""Speech encoders against the models themselves: layers, windows, batches, times, short clips, and what cannot be loaded."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoFeatureExtractor, AutoModel

from bemerc.core.errors import BemercError, MediaError
from bemerc.extraction.audio import speech_encoder, windows
from bemerc.extraction.audio.speech_encoder_torch import Encoder
from tests.encoders import LAYERS, WIDTH, tiny_encoder
from tests.errors import raises
from tests.slow import beyond

RATE = 16000
KINDS = [("wav2vec2", "layer"), ("hubert", "layer"), ("wavlm", "layer"), ("wavlm", "group"), ("whisper", "layer")]
pytestmark = pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask:UserWarning")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    base = tmp_path_factory.mktemp("models")
    return {kind: tiny_encoder(base / "-".join(kind), *kind) for kind in KINDS}


def resolved(folder: Path, **options: Any) -> speech_encoder.ResolvedEncoder:
    params = speech_encoder.Params(name_or_path=str(folder), **{"device": "cpu", **options})
    assert list(params.check()) == []
    return speech_encoder.resolve(
        params, {f: hashlib.sha256(f.read_bytes()).hexdigest() for f in speech_encoder.files(params)}
    )


def opened(folder: Path, batched: bool = False, **options: Any) -> Encoder:
    one = resolved(folder, **options)
    return Encoder(one, speech_encoder.columns(one), "cpu", batched)


def sound(samples: int, seed: int = 0) -> NDArray[np.float32]:
    """Noise whose loudness moves, so that no two seconds are alike."""
    noise = np.random.default_rng(seed).standard_normal(samples)
    return np.asarray(noise * (0.1 + 0.08 * np.sin(np.arange(samples) / 9000)), np.float32)


def theirs(
    folder: Path, waveform: NDArray[np.float32], layer: int, dtype: torch.dtype = torch.float32
) -> NDArray[np.float32]:
    """What transformers' own classes say of one clip."""
    prepare, model = AutoFeatureExtractor.from_pretrained(folder), AutoModel.from_pretrained(folder, dtype=dtype).eval()
    given = prepare(waveform, sampling_rate=RATE, return_tensors="pt")
    whisper = "input_features" in given
    with torch.no_grad():
        out = (model.encoder if whisper else model)(
            given["input_features" if whisper else "input_values"].to(dtype), output_hidden_states=True
        )
    states = out.last_hidden_state if layer == LAYERS else out.hidden_states[layer]
    return np.asarray(states[0].float().numpy())


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_rows_are_what_the_model_says_layer_by_layer(
    models: dict[tuple[str, str], Path], kind: tuple[str, str]
) -> None:
    waveform = sound(20000)
    outputs = [theirs(models[kind], waveform, layer) for layer in range(LAYERS + 1)]
    for layers, truth in (
        ((0,), outputs[0]),
        ((1,), outputs[1]),
        ((-1,), outputs[3]),
        ((1, -2), (outputs[1] + outputs[2]) / 2),
    ):
        features = opened(models[kind], layers=layers).clip(waveform)
        rows = len(features.values)
        assert features.values.dtype == np.float32
        assert rows == (63 if kind[0] == "whisper" else len(truth)), "a Whisper's 30 s are cut to the clip's"
        # Kept with 11 significant bits: half a unit in the last place of the largest number.
        np.testing.assert_allclose(features.values, truth[:rows], rtol=2**-11, atol=2e-4)


@pytest.mark.parametrize("kind", beyond(KINDS[:1], KINDS), ids="-".join)
def test_heard_together_or_alone_the_rows_are_the_same(
    models: dict[tuple[str, str], Path], kind: tuple[str, str]
) -> None:
    lengths = (47000, 0, 16000, 399, 400, 33333, 15999, 720, 250000)
    sounds = [sound(n, seed) for seed, n in enumerate(lengths)]
    alone, several = opened(models[kind]), opened(models[kind], batched=True)
    for one, both in zip(map(alone.clip, sounds), several.clips(sounds), strict=True):
        assert not isinstance(both, MediaError)
        assert len(one.values) == len(both.values) == len(both.timestamps_s)
        np.testing.assert_allclose(both.values, one.values, rtol=2**-10, atol=2e-3)


def test_a_row_does_not_know_who_was_heard_beside_it(models: dict[tuple[str, str], Path]) -> None:
    """A batch keeps its shape whoever is in it, so even the last bits stay."""
    several = opened(models["wavlm", "layer"], batched=True, batch_s=12.0)
    mine = sound(40000, 1)
    first = several.clips([mine, sound(37000, 2), sound(44000, 3)])[0]
    second = several.clips([sound(33000, 4), mine])[1]
    assert not isinstance(first, MediaError)
    assert not isinstance(second, MediaError)
    assert first.values.tobytes() == second.values.tobytes()


def test_models_that_would_hear_the_padding_hear_one_sound_at_a_time(models: dict[tuple[str, str], Path]) -> None:
    """Group norm takes its mean over time: padded beside a longer one, a short clip's rows would change."""
    sounds = [sound(16000, 1), sound(16000, 2), sound(48000, 3)]
    group = opened(models["wavlm", "group"], batched=True)
    for waveform, features in zip(sounds, group.clips(sounds), strict=True):
        assert not isinstance(features, MediaError)
        assert features.values.tobytes() == group.clip(waveform).values.tobytes()


@pytest.mark.parametrize(("norm", "near"), [("layer", 0.985), ("group", 0.90)])
def test_long_clips_in_windows_are_near_the_whole_and_show_no_seam(
    models: dict[tuple[str, str], Path], norm: str, near: float
) -> None:
    """25 s in windows of 8 s that share 2 s, beside the model on all of it at once: rows' correlation, and jumps."""
    folder, waveform = models["wavlm", norm], sound(25 * RATE)
    whole = opened(folder, window_s=60.0, overlap_s=3.0).clip(waveform).values
    parts = opened(folder, window_s=8.0, overlap_s=2.0).clip(waveform).values
    assert parts.shape == whole.shape == (1249, WIDTH)
    alike = [np.corrcoef(a, b)[0, 1] for a, b in zip(whole, parts, strict=True)]
    assert np.mean(alike) > near
    steps = np.abs(np.diff(parts, axis=0)).mean(axis=1)
    cut = windows.split(len(waveform), 8 * RATE, 2 * RATE, 320)
    borders = [f // 320 for w in cut for f in (w.start, w.end) if 0 < f < len(waveform)]
    there = np.mean([steps[b - 2 : b + 2].mean() for b in borders])
    assert there < 1.2 * steps.mean(), "where a window begins or ends, rows move no more than elsewhere"


def test_a_whisper_hears_a_long_clip_thirty_seconds_at_a_time(models: dict[tuple[str, str], Path]) -> None:
    """Its first rows are those of its first 30 s alone as long as no other window knows them."""
    waveform = sound(35 * RATE)
    features = opened(models["whisper", "layer"], overlap_s=5.0).clip(waveform)
    assert len(features.values) == 1750
    assert features.timestamps_s[-1] == pytest.approx(34.98)
    first = opened(models["whisper", "layer"]).clip(waveform[: 30 * RATE])
    assert features.values[:250].tobytes() == first.values[:250].tobytes()


def test_a_name_is_looked_up_on_this_machine_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hugging Face's cache as its own tools fill it; another revision's weights would be other columns."""
    import huggingface_hub.constants

    cached = tmp_path / "models--someone--small-wavlm"
    tiny_encoder(cached / "snapshots" / "abc123", "wavlm")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("abc123")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    one = resolved(Path("someone/small-wavlm"))
    assert one.folder == cached / "snapshots" / "abc123"
    assert len(opened(Path("someone/small-wavlm")).clip(sound(8000)).values) == 24


def test_frames_are_timed_by_the_middle_of_what_they_see(models: dict[tuple[str, str], Path]) -> None:
    """80 samples turned round change the rows around their own time: 50 Hz, the first row at 12.5 ms (a Whisper's at 0)."""
    one = sound(2 * RATE)
    other = one.copy()
    other[RATE : RATE + 80] = one[RATE : RATE + 80][::-1]
    for kind, first_s in ((("hubert", "layer"), 0.0125), (("whisper", "layer"), 0.0)):
        extractor = opened(models[kind], layers=(0,))
        before, after = extractor.clip(one), extractor.clip(other)
        assert before.timestamps_s[0] == pytest.approx(first_s)
        assert np.diff(before.timestamps_s) == pytest.approx(0.02)
        moved = ((after.values - before.values) ** 2).sum(axis=1)
        assert moved @ before.timestamps_s / moved.sum() == pytest.approx(1.0025, abs=0.02)


@pytest.mark.parametrize("samples", [0, 1, 96, 399])
def test_less_than_a_frame_is_nothing(models: dict[tuple[str, str], Path], samples: int) -> None:
    for kind in (("wavlm", "layer"), ("whisper", "layer")):
        features = opened(models[kind]).clip(sound(samples))
        assert features.values.shape == (0, WIDTH)
        assert len(features.timestamps_s) == 0


def test_silence_and_broken_samples_give_numbers(models: dict[tuple[str, str], Path]) -> None:
    broken = sound(8000)
    broken[100:200] = np.nan
    for kind in KINDS:
        for waveform in (np.zeros(8000, np.float32), broken):
            assert np.isfinite(opened(models[kind]).clip(waveform).values).all()


def test_half_precision_says_what_the_model_says_in_it(models: dict[tuple[str, str], Path]) -> None:
    # How far bfloat16 lies from float32 is the processor's own affair (r of .9 to 1 with weights that learned nothing), so
    # the measure is what transformers' own classes say in the same precision.
    for kind in KINDS:
        full = opened(models[kind]).clip(sound(16000)).values
        half = opened(models[kind], dtype="bfloat16").clip(sound(16000)).values
        truth = theirs(models[kind], sound(16000), LAYERS, torch.bfloat16)[: len(half)]
        np.testing.assert_allclose(half, truth, rtol=2**-7, atol=1e-3)
        assert not np.array_equal(full, half)


def test_what_overflows_is_a_failed_clip(tmp_path: Path) -> None:
    folder = tiny_encoder(tmp_path / "loud", "hubert")
    extractor = opened(folder)
    extractor._network.encoder.layer_norm.weight.fill_(3e38)
    extractor._network.encoder.layer_norm.bias.fill_(3e38)
    with pytest.raises(MediaError, match="overflowed in float32"):
        extractor.clip(sound(4000))


def test_columns_name_the_weights_and_the_layers(models: dict[tuple[str, str], Path], tmp_path: Path) -> None:
    """So tokens of another layer, or of other weights, have other columns, and a trained model refuses them."""
    names = speech_encoder.columns(resolved(models["wavlm", "layer"]))
    assert len(names) == len(set(names)) == WIDTH
    assert names[0].startswith("wavlm_")
    assert names == speech_encoder.columns(resolved(models["wavlm", "layer"], layers=(LAYERS,), batch_s=5.0))
    others = [
        resolved(models["wavlm", "layer"], layers=(1,)),
        resolved(tiny_encoder(tmp_path / "other", "wavlm", seed=1)),
    ]
    for other in others:
        assert not set(names) & set(speech_encoder.columns(other))
        assert other.recorded() != resolved(models["wavlm", "layer"]).recorded()
    assert resolved(models["wavlm", "layer"], device="auto").recorded() == resolved(models["wavlm", "layer"]).recorded()


def test_what_cannot_be_loaded_is_a_sentence(models: dict[tuple[str, str], Path], tmp_path: Path) -> None:
    with raises(BemercError, key="extract_audio.encoder.name_or_path", missing=True, name="someone/no-such-encoder"):
        resolved(Path("someone/no-such-encoder"))
    with raises(BemercError, key="extract_audio.encoder.name_or_path", missing=True):
        resolved(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(BemercError, match="no safetensors weights"):
        resolved(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with raises(BemercError, key="extract_audio.encoder.name_or_path", name="llama"):
        resolved(tmp_path)
    with raises(BemercError, key="extract_audio.encoder.layers"):
        resolved(models["wavlm", "layer"], layers=(4,))
    with raises(BemercError, key="extract_audio.encoder.dtype"):
        speech_encoder.batch_size(resolved(models["wavlm", "layer"], device="auto", dtype="float16"))
    folder = tiny_encoder(tmp_path / "cut", "wavlm")
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:5000])
    with pytest.raises(BemercError, match="no wavlm could be loaded"):
        opened(folder)


def test_weights_that_are_not_there_are_not_made_up(models: dict[tuple[str, str], Path], tmp_path: Path) -> None:
    import safetensors.torch

    folder = tiny_encoder(tmp_path / "holes", "wavlm")
    held = safetensors.torch.load_file(folder / "model.safetensors")
    gone = next(name for name in held if "layers.1" in name)
    safetensors.torch.save_file(
        {n: w for n, w in held.items() if n != gone}, folder / "model.safetensors", {"format": "pt"}
    )
    with raises(BemercError, path=folder):
        opened(folder)


def test_params_that_cannot_be_are_named() -> None:
    assert list(speech_encoder.Params().check()) == []
    wrong = speech_encoder.Params(layers=(), window_s=0.5, overlap_s=9.0, batch_s=0.0, dtype="float16", device="cpu")
    errors = " ".join(wrong.check())
    assert all(name in errors for name in ("layers", "window_s", "overlap_s", "batch_s", "dtype"))


# -------------------------------------------------------------------------------------------------------------- windows


@pytest.mark.parametrize("samples", [400, 128000, 128001, 128320, 200000, 481234, 3_000_000])
def test_windows_cover_every_frame(samples: int) -> None:
    longest, overlap, hop = 128000, 32000, 320
    windows_ = windows.split(samples, longest, overlap, hop)
    assert all(window.start % hop == 0 and 0 < window.samples <= longest for window in windows_)
    assert (windows_[0].start, windows_[-1].end) == (0, samples)
    assert all(a.end - b.start >= overlap - hop for a, b in itertools.pairwise(windows_))
    frames = (samples - 400) // hop + 1
    truth = np.arange(frames, dtype=np.float32)[:, None] % 977
    parts = [(w.start // hop, truth[w.start // hop :][: (w.samples - 400) // hop + 1]) for w in windows_]
    np.testing.assert_allclose(windows.stitch(parts, frames), truth, rtol=1e-5)


def test_rounding_keeps_eleven_bits() -> None:
    values = np.random.default_rng(0).standard_normal(1000).astype(np.float32) * 1e5
    kept = windows.round_to_half(values)
    assert np.abs(kept / values - 1).max() <= 2**-11
    assert not (kept.view(np.uint32) & 0x1FFF).any()
    assert np.array_equal(windows.round_to_half(kept), kept)


def test_rounding_leaves_what_is_no_number_as_it_is() -> None:
    """All NaN that there are in practice: numpy's, CUDA's canonical one, whose bits would run over into -0.0, signalling ones."""
    bits = np.array([0x7FC00000, 0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001, 0xFF800001, 0x7FFFF000], np.uint32)
    assert np.isnan(windows.round_to_half(bits.view(np.float32))).all()
    infinite = np.array([np.inf, -np.inf], np.float32)
    assert np.array_equal(windows.round_to_half(infinite), infinite)
    largest = np.array([np.finfo(np.float32).max], np.float32)
    assert not np.isfinite(windows.round_to_half(largest)).any(), "what rounds beyond float32 is no number either"


@pytest.mark.parametrize("bits", [0x7FC00000, 0x7FFFFFFF, 0xFFFFFFFF])
def test_an_overflow_as_a_gpu_writes_it_is_a_failed_clip(models: dict[tuple[str, str], Path], bits: int) -> None:
    """Layer norm of infinity is NaN on every device, and CUDA's has all bits set but the sign."""
    extractor = opened(models["hubert", "layer"])
    odd = torch.from_numpy(np.array([bits], np.uint32).view(np.float32))
    extractor._network.encoder.layer_norm.register_forward_hook(lambda _, __, out: odd.expand_as(out).clone())
    with pytest.raises(MediaError, match="overflowed"):
        extractor.clip(sound(4000))


def test_an_encoder_leaves_the_process_as_it_was(models: dict[tuple[str, str], Path]) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    cudnn = torch.backends.cudnn
    settings = cudnn.allow_tf32, cudnn.deterministic
    try:
        extractor = opened(models["wavlm", "layer"])
        inside: list[tuple[int, bool, bool]] = []
        extractor._network.register_forward_pre_hook(
            lambda *_: inside.append((torch.get_num_threads(), cudnn.allow_tf32, cudnn.deterministic))
        )
        extractor.clip(sound(16000))
        assert inside == [(1, False, True)]
        assert torch.get_num_threads() == 2
        assert (cudnn.allow_tf32, cudnn.deterministic) == settings
    finally:
        torch.set_num_threads(before)
