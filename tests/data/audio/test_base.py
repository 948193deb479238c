import builtins
import re
import struct
import wave
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from scipy.signal import resample_poly

from litnets.data import AudioFolder
from litnets.data.audio.base import random_blocks
from litnets.data.audio.log_mel import LogMel, mel_filters
from litnets.data.audio.reading import read_audio
from litnets.data.core.class_folders import BrokenFileError
from litnets.errors import InputError
from tests.helpers.tiny_sound import tone, write_audio_folder, write_wav


def ready(root: Path, **arguments: Any) -> AudioFolder:
    data = AudioFolder(str(root), **{"sample_rate": 8000, "batch_size": 8, **arguments})
    data.prepare_data()
    data.setup()
    return data


def log_mel_by_hand(samples: np.ndarray, rate: int, n_mels: int, equal: bool) -> np.ndarray:
    """Compute the features from the formulas, by frame and band, in float64, `(frames, n_mels)`."""
    x = samples / 32768
    window, hop = round(0.025 * rate), round(0.01 * rate)
    n_fft = 1
    while n_fft < window:
        n_fft *= 2
    hann = [0.5 - 0.5 * np.cos(2 * np.pi * i / window) for i in range(window)]
    mels = np.arange(n_mels + 2) / (n_mels + 1) * 2595 * np.log10(1 + rate / 2 / 700)
    corners = 700 * (10 ** (mels / 2595) - 1)
    frames = []
    for t in range(1 + len(x) // hop):
        piece = np.zeros(n_fft)
        for i in range(window):
            if 0 <= (at := t * hop - window // 2 + i) < len(x):
                piece[i] = x[at] * hann[i]
        power = np.abs(np.fft.rfft(piece)) ** 2  # the position of the window changes only the phase
        bands = []
        for low, center, high in zip(corners, corners[1:], corners[2:], strict=False):
            f = np.arange(n_fft // 2 + 1) * rate / n_fft
            rise, fall = (f - low) / (center - low), (high - f) / (high - center)
            bands.append((np.maximum(0, np.minimum(rise, fall)) * power).sum())
        frames.append(np.log(np.array(bands) + LogMel.FLOOR))
    return np.array(frames) - (np.log(max((x**2).mean(), LogMel.FLOOR)) if equal else 0)


def padded(recordings: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    lengths = torch.tensor([len(r) for r in recordings])
    waveforms = torch.zeros(len(recordings), int(lengths.max()), dtype=torch.int16)
    for row, recording in zip(waveforms, recordings, strict=True):
        row[: len(recording)] = torch.from_numpy(recording)
    return waveforms, lengths


RECORDINGS = [tone(440, 1000), tone(1800, 333, noise=0.1), tone(3900, 80), tone(700, 1999, noise=0.002), tone(50, 3)]


# Features


@pytest.mark.parametrize("equal_loudness", [True, False])
@pytest.mark.parametrize(("rate", "n_mels"), [(8000, 40), (16000, 64), (11025, 23)])
def test_features_match_the_formulas(tmp_path: Path, rate: int, n_mels: int, equal_loudness: bool) -> None:
    write_audio_folder(tmp_path, size=4)
    data = AudioFolder(str(tmp_path), sample_rate=rate, n_mels=n_mels, equal_loudness=equal_loudness)
    features, frames = data.features(*padded(RECORDINGS))
    for actual, count, recording in zip(features, frames.tolist(), RECORDINGS, strict=True):
        expected = log_mel_by_hand(recording, rate, n_mels, equal_loudness)
        assert count == len(expected)
        assert np.abs(actual[:count].numpy() - expected).max() < 1e-3


def test_filters_sum_to_1_and_peak_at_the_centers_of_the_mel_scale() -> None:
    filters = mel_filters(16000, 4096, 20)
    frequencies = torch.linspace(0, 8000, 2049)
    centers = [700 * (10 ** (2840.0230 * i / 21 / 2595) - 1) for i in range(1, 21)]
    assert frequencies[filters.argmax(1)].tolist() == pytest.approx(centers, abs=2.5)
    between = (frequencies > centers[0]) & (frequencies < centers[-1])
    assert torch.allclose(filters.sum(0)[between], torch.ones(()))


def test_a_tone_is_loudest_in_its_band() -> None:
    log_mel = LogMel(8000, 40)
    features, _ = log_mel(*padded([tone(1000, 4000), tone(3000, 4000)]))
    bands = [
        np.argmin([abs(1000 - f) for f in centers(8000, 40)]),
        np.argmin([abs(3000 - f) for f in centers(8000, 40)]),
    ]
    assert features[:, 20].argmax(1).tolist() == bands


def centers(rate: int, n_mels: int) -> list[float]:
    top = 2595 * np.log10(1 + rate / 2 / 700)
    return [700 * (10 ** (top * i / (n_mels + 1) / 2595) - 1) for i in range(1, n_mels + 1)]


def test_a_recording_does_not_depend_on_the_rest_of_its_batch(tmp_path: Path) -> None:
    write_audio_folder(tmp_path)
    data = ready(tmp_path)
    (together, frames), _ = data.on_after_batch_transfer((padded(RECORDINGS), torch.zeros(5)), 0)
    for row, count, recording in zip(together, frames, RECORDINGS, strict=True):
        (alone, alone_frames), _ = data.on_after_batch_transfer((padded([recording]), torch.zeros(1)), 0)
        assert alone_frames.tolist() == [int(count)] == [alone.shape[1]]
        torch.testing.assert_close(row[:count], alone[0], rtol=0, atol=1e-4)
        assert (row[count:] == 0).all()


def test_equal_loudness_can_be_turned_off(tmp_path: Path) -> None:
    write_audio_folder(tmp_path, size=4)
    loud = tone(500, 2000, noise=0.2)
    pair = padded([loud, (loud // 8).astype(np.int16)])
    equal, _ = AudioFolder(str(tmp_path), sample_rate=8000).features(*pair)
    kept, _ = AudioFolder(str(tmp_path), sample_rate=8000, equal_loudness=False).features(*pair)
    assert (equal[0] - equal[1]).abs().max() < 0.02
    assert (kept[0] - kept[1]).mean().item() == pytest.approx(2 * np.log(8), abs=0.02)


def test_silence_is_finite(tmp_path: Path) -> None:
    write_audio_folder(tmp_path)
    (features, _), _ = ready(tmp_path).on_after_batch_transfer((padded([np.zeros(500, np.int16)]), torch.zeros(1)), 0)
    assert features.isfinite().all()


def test_statistics_use_only_the_training_split(tmp_path: Path) -> None:
    write_audio_folder(tmp_path)
    data = ready(tmp_path, n_mels=12, eval_batch_size=7)
    train = data.splits["train"]
    rows = [
        log_mel_by_hand(train.values[train.starts[i] : train.starts[i] + train.lengths[i]].numpy(), 8000, 12, True)
        for i in train.indices.tolist()
    ]
    assert len(rows) == 36
    assert data.mean == pytest.approx(np.concatenate(rows).mean(0), abs=1e-4)
    assert data.std == pytest.approx(np.concatenate(rows).std(0), rel=1e-3)


def test_the_training_split_is_normalized(tmp_path: Path) -> None:
    write_audio_folder(tmp_path)
    data = ready(tmp_path)
    steps = []
    for batch in data.train_dataloader():
        (features, frames), _ = data.on_after_batch_transfer(batch, 0)
        steps += [row[:count] for row, count in zip(features, frames, strict=True)]
    assert torch.cat(steps).mean(0).abs().max() < 1e-3
    assert (torch.cat(steps).std(0, correction=0) - 1).abs().max() < 1e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_mels": 200}, "n_mels: 200 bands are too many for windows of 256 samples at 8000 Hz"),
        ({"hop": 0.00001}, "hop 1e-05 s: too short"),
        ({"window": 0.0001}, r"window 0.0001 s"),
    ],
)
def test_invalid_features_are_refused(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    write_audio_folder(tmp_path, size=4)
    with pytest.raises(InputError, match=message):
        AudioFolder(str(tmp_path), sample_rate=8000, **arguments)


# Files


def test_a_wav_is_read_unchanged(tmp_path: Path) -> None:
    samples = np.array([0, 1, -1, 32767, -32768, 12345], np.int16)
    write_wav(tmp_path / "a.wav", samples)
    read = read_audio(tmp_path / "a.wav", 8000)
    assert read.dtype == torch.int16
    assert read.tolist() == samples.tolist()


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "PCM_U8"])
def test_other_formats_are_read_by_soundfile(tmp_path: Path, subtype: str) -> None:
    samples = tone(440, 500)
    soundfile.write(tmp_path / "a.wav", samples / 32768, 8000, subtype)
    read = read_audio(tmp_path / "a.wav", 8000).numpy()
    assert np.abs(read.astype(int) - samples).max() <= (256 if subtype == "PCM_U8" else 0)


def test_flac_is_read(tmp_path: Path) -> None:
    samples = tone(440, 5000)
    soundfile.write(tmp_path / "a.FLAC", samples, 8000, format="FLAC")
    assert read_audio(tmp_path / "a.FLAC", 8000).tolist() == samples.tolist()


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = tone(440, 500), tone(900, 500)
    write_wav(tmp_path / "a.wav", np.stack([left, right], 1))
    read = read_audio(tmp_path / "a.wav", 8000).numpy()
    assert np.abs(read - (left.astype(float) + right) / 2).max() <= 0.5


@pytest.mark.parametrize(("rate", "target_rate"), [(8000, 16000), (44100, 16000), (16000, 8000)])
def test_recordings_are_resampled(tmp_path: Path, rate: int, target_rate: int) -> None:
    samples = tone(440, rate // 2, rate, noise=0)
    write_wav(tmp_path / "a.wav", samples, rate)
    read = read_audio(tmp_path / "a.wav", target_rate).numpy()
    assert len(read) == target_rate // 2
    ideal = tone(440, target_rate // 2, target_rate, noise=0)
    middle = slice(target_rate // 20, -target_rate // 20)  # the filter rings at the ends
    assert np.abs(read[middle].astype(int) - ideal[middle]).max() < 60  # of 10922
    common = np.gcd(rate, target_rate)
    assert np.abs(read - resample_poly(samples.astype(float), target_rate // common, rate // common)).max() <= 1


def test_float_samples_beyond_full_scale_are_scaled_and_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([1.5, -1.5, 0.5]), 8000, "FLOAT")
    assert read_audio(tmp_path / "a.wav", 8000).tolist() == [32767, -32768, 10923]
    samples = tone(440, 4000)  # an array of int16 that was saved as float32
    soundfile.write(tmp_path / "b.wav", samples.astype(np.float32), 8000, "FLOAT")
    soundfile.write(tmp_path / "c.wav", np.ones(9), 8000, "FLOAT")
    waveforms, *_ = AudioFolder(str(tmp_path), sample_rate=8000).read_files([tmp_path / f"{n}.wav" for n in "abc"])
    peak = np.abs(samples).max()
    assert waveforms[1] is not None
    assert np.abs(waveforms[1].numpy() - samples * (32768 / peak)).max() <= 1
    message = rf"2 of 3 recordings exceed full scale and are scaled down to it \(.*a.wav: 1.5, .*b.wav: {peak:.0f}\)"
    assert re.search(message, capsys.readouterr().out)


def test_resampling_does_not_clip_a_scaled_recording(tmp_path: Path) -> None:
    square = 3 * np.sign(np.sin(np.arange(8000) / 5))
    soundfile.write(tmp_path / "a.wav", square, 8000, "DOUBLE")
    read = read_audio(tmp_path / "a.wav", 16000).numpy()
    assert (np.abs(read.astype(int)) >= 32767).sum() == 1  # the highest overshoot alone
    expected = resample_poly(square, 2, 1)
    assert np.abs(read - 32768 * expected / np.abs(expected).max()).max() <= 1


@pytest.mark.parametrize(("riff", "data"), [(0xFFFFFFFF, 0xFFFFFFFF), (0, 0), (0x7FFFF024, 0x7FFFF000), (36, 0)])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT", "PCM_24"])
def test_a_streamed_wav_is_read_to_its_end(tmp_path: Path, riff: int, data: int, channels: int, subtype: str) -> None:
    samples = np.repeat(tone(440, 501)[:, None], channels, 1)
    soundfile.write(tmp_path / "a.wav", samples / 32768, 8000, subtype)
    content = bytearray((tmp_path / "a.wav").read_bytes())
    struct.pack_into("<I", content, 4, riff)
    struct.pack_into("<I", content, content.index(b"data") + 4, data)
    content += b"\0"  # the stream was cut off within a sample
    (tmp_path / "a.wav").write_bytes(content)
    assert read_audio(tmp_path / "a.wav", 8000).tolist() == samples[:, 0].tolist()


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def of_no_samples(path: Path) -> None:
    write_wav(path, np.zeros(0, np.int16))


# Masking (SpecAugment)


def batch_of(data: AudioFolder, training: bool) -> tuple[torch.Tensor, torch.Tensor]:
    data.trainer = SimpleNamespace(training=training)  # type: ignore[assignment]
    (features, frames), _ = data.on_after_batch_transfer(data.splits["train"][torch.arange(36)], 0)
    return features, frames


@pytest.mark.parametrize(("time", "bands"), [(0.5, 0), (0.0, 6), (0.5, 6)])
def test_training_masks_one_block_of_frames_and_one_of_bands(tmp_path: Path, time: float, bands: int) -> None:
    write_audio_folder(tmp_path)
    data = ready(tmp_path, time_mask=time, frequency_mask=bands, n_mels=20)
    complete, frames = batch_of(data, training=False)
    hidden_frames, hidden_bands = set(), set()
    for _ in range(20):
        features, _ = batch_of(data, training=True)
        for one, all_of_it, length in zip(features, complete, frames.tolist(), strict=True):
            masked = (one != all_of_it)[:length]
            assert (one[:length][masked] == 0).all()
            assert torch.equal(one[length:], all_of_it[length:])
            rows, columns = masked.all(1), masked.all(0)
            assert torch.equal(masked, rows.unsqueeze(1) | columns)
            for line in (rows, columns):
                assert (line.nonzero().diff(dim=0) == 1).all()
            assert rows.sum() <= time * length
            hidden_frames.add(int(rows.sum()))
            hidden_bands.add(int(columns.sum()))
    assert hidden_bands == set(range(bands + 1))
    assert hidden_frames >= (set(range(3)) if time else {0})


def test_lengths_and_starts_of_blocks_are_uniform() -> None:
    sizes, longest = torch.full((20_000,), 5), torch.full((20_000,), 2)
    found = random_blocks(sizes, longest, 7).double().mean(0)
    # Lengths 0, 1 and 2 are equally likely, with 5 possible starts for length 1 and 4 for length 2.
    expected = [1 / 15 + at / 12 for at in (1, 2, 2, 2, 1)]
    assert found.tolist() == pytest.approx([*expected, 0, 0], abs=0.01)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"time_mask": 1.5}, r"time_mask: expected a fraction in \[0, 1\], got 1.5"),
        ({"frequency_mask": 41}, r"frequency_mask: expected 0 to 40 bands \(n_mels\), got 41"),
    ],
)
def test_masks_larger_than_a_recording_are_refused(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        AudioFolder(str(tmp_path), **arguments)


def not_sound(path: Path) -> None:
    path.write_text("<html>not found</html>")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def not_numbers(path: Path) -> None:
    soundfile.write(path, np.array([0.1, 0.2, np.nan]), 8000, "FLOAT")


BROKEN = [
    (cut_off, r"truncated: it has \d+ of \d+ samples"),
    (of_no_samples, "it has no samples"),
    (not_sound, "Format not recognised"),
    (empty, "Format not recognised|unknown format|Error"),
    (not_numbers, "sample 2 is not a number"),
]


@pytest.mark.parametrize(("damage", "message"), BROKEN)
def test_a_broken_recording_is_reported(tmp_path: Path, damage: Any, message: str) -> None:
    write_audio_folder(tmp_path)
    path = tmp_path / "low" / "07.wav"
    damage(path)
    with pytest.raises(BrokenFileError, match=message):
        read_audio(path, 8000)
    with pytest.raises(
        InputError, match=rf"1 of 60 recordings cannot be read; .*skip_broken true\n.*07.wav: .*({message})"
    ):
        ready(tmp_path)


def test_broken_recordings_are_skipped_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_audio_folder(tmp_path)
    complete = ready(tmp_path)
    for index in range(7):
        cut_off(tmp_path / "low" / f"{index:02}.wav")
    data = ready(tmp_path, skip_broken=True)
    output = capsys.readouterr().out
    assert "7 of 60 recordings cannot be read, skipped:" in output
    assert str(tmp_path / "low" / "04.wav") in output
    assert "and 2 more" in output
    masked = range(20, 27)  # high, low, mid: the second twenty
    for name, split in data.splits.items():
        kept = [i for i in complete.splits[name].indices.tolist() if i not in masked]
        assert split.indices.tolist() == kept  # the others keep their split
        (waveforms, lengths), _ = split[torch.arange(len(split))]
        (before, before_lengths), _ = type(split)(
            complete.splits[name].values,
            complete.splits[name].lengths,
            complete.splits[name].targets,
            torch.tensor(kept),
        )[torch.arange(len(kept))]
        assert torch.equal(waveforms, before)
        assert torch.equal(lengths, before_lengths)


def test_missing_soundfile_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name == "soundfile":
            raise ImportError("No module named 'soundfile'")
        return real(name, *rest)

    soundfile.write(tmp_path / "a.flac", tone(440, 500), 8000)
    write_wav(tmp_path / "a.wav", tone(440, 500))
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(InputError, match=r"a.flac is not a 16-bit WAV file.*pip install -e '.\[audio\]'"):
        read_audio(tmp_path / "a.flac", 8000)
    assert len(read_audio(tmp_path / "a.wav", 8000)) == 500


def test_a_wav_with_extra_chunks_is_read(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", tone(440, 500))
    content = (tmp_path / "a.wav").read_bytes()
    chunk = b"LIST" + struct.pack("<I", 4) + b"INFO"
    size = struct.pack("<I", len(content) - 8 + len(chunk))
    (tmp_path / "a.wav").write_bytes(b"RIFF" + size + b"WAVE" + chunk + content[12:])
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert file.getnframes() == 500
    assert read_audio(tmp_path / "a.wav", 8000).tolist() == tone(440, 500).tolist()


# The checkpoint


def test_a_checkpoint_contains_the_statistics_and_fixes_the_classes(tmp_path: Path) -> None:
    write_audio_folder(tmp_path / "a")
    write_audio_folder(tmp_path / "b", ("high", "low", "other"))
    state = ready(tmp_path / "a").state_dict()
    assert state == torch.load(saved(tmp_path, state), weights_only=True)
    with pytest.raises(InputError, match="trained on the classes high, low, mid; these data have high, low, other"):
        ready(tmp_path / "b").load_state_dict(state)
    other = ready(tmp_path / "a", split_seed=1)
    assert other.mean != state["mean"]
    other.load_state_dict(state)
    assert (other.mean, other.std) == (state["mean"], state["std"])


def saved(folder: Path, state: dict[str, Any]) -> Path:
    torch.save(state, folder / "state.pt")
    return folder / "state.pt"


def test_moving_a_preparation_leaves_the_datamodule_where_it_is() -> None:
    data = AudioFolder("unread")
    data.preparation().to("meta")
    assert data.log_mel.filters.device.type == "cpu"
