"""Test the tasks: their clips, the meaning of their labels, the controls, and a user's own clips."""

from __future__ import annotations

import random as random_numbers
import re
import resource
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from convbench.core.case import ControlName
from convbench.core.errors import ConvbenchError, Impossible, Unavailable
from convbench.core.record import Choice, Clip, Training
from convbench.core.registry import Plugin, tasks
from convbench.core.system import lock, scratch
from convbench.measure import progress
from convbench.measure.quality import controls, digits, run_files, user_clips
from convbench.measure.quality.data import Labelled, Splits
from convbench.measure.quality.digits import DIRECTIONS, STEPS, speed
from convbench.measure.quality.findings import large_values, repeated_clips
from convbench.measure.quality.splitting import random, stratify, stratify_groups
from convbench.measure.quality.tasks import load
from convbench.plugins.tasks import binding, order, video_folder
from convbench.plugins.tasks.binding import SIDES
from convbench.plugins.tasks.order import flashes
from convbench.suite.options import signature

CLASSES = {"identity": 10, "direction": 8, "binding": 4, "order": 10}
DRAWN = [plugin.name for plugin in tasks if not signature(tasks, plugin.name).required]
"""The tasks that need no data: those of digits, and any that is added."""
CLIP = Clip(32, 8, 1, 32, 32)
OWN = Clip(2, 4, 1, 8, 8)
FEW = Training(train_clips=120, val_clips=40, test_clips=41)


def splits_of(task: str, clip: Clip = CLIP, training: Training = FEW, seed: int = 0, **options: Any) -> Splits:
    return load(Choice(task, tuple(options.items())), clip, training, seed)


def own(function: str, clip: Clip = OWN, training: Training = FEW, seed: int = 0, **options: Any) -> Splits:
    return splits_of(f"plugins.own_clips:{function}", clip, training, seed, **options)


def parts(splits: Splits) -> tuple[Labelled, Labelled, Labelled]:
    return splits.train, splits.val, splits.test


def message(function: str, clip: Clip = OWN, training: Training = FEW, **options: Any) -> str:
    with pytest.raises(ConvbenchError) as caught:
        own(function, clip, training, **options)
    return str(caught.value)


def same(splits: Splits, other: Splits) -> bool:
    pairs = zip(parts(splits), parts(other), strict=True)
    return all(torch.equal(a.clips, b.clips) and torch.equal(a.labels, b.labels) for a, b in pairs)


# --- Every task -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clip", [CLIP, Clip(1, 3, 2, 16, 17)], ids=str)
@pytest.mark.parametrize("task", DRAWN)
def test_a_task_draws_clips_between_0_and_1_of_all_its_classes(task: str, clip: Clip) -> None:
    splits = splits_of(task, clip)
    for split, count in zip(parts(splits), (120, 40, 41), strict=True):
        assert split.clips.shape == (count, clip.frames, clip.channels, clip.height, clip.width)
        assert split.clips.dtype == torch.float32
        assert 0 <= split.clips.min() < split.clips.max() <= 1
        assert set(split.labels.tolist()) == set(range(len(splits.classes)))
    assert not torch.equal(splits.val.clips, splits.train.clips[:40]), "splits share no clips"
    assert not torch.equal(splits.test.clips[:40], splits.val.clips), "splits share no clips"


# --- Every task of digits ---------------------------------------------------------------------------------------------


def test_every_task_is_registered_with_a_summary() -> None:
    shelf = {plugin.name: plugin for plugin in tasks}
    assert {*CLASSES, "npz-folder", "video-folder"} <= set(shelf)
    assert all(len(plugin.summary) > 20 for plugin in shelf.values())
    parameters = signature(tasks, "identity")
    assert parameters.option("jitter").validate_python([0, 0.5, 1]) == [0, 0.5, 1]
    with pytest.raises(ValueError, match="less than or equal to 1"):
        parameters.option("jitter").validate_python(1.5)
    assert signature(tasks, "video-folder").required == {"path"}


@pytest.mark.parametrize("clip", [CLIP, Clip(4, 5, 3, 40, 24), Clip(1, 3, 2, 16, 17)], ids=str)
@pytest.mark.parametrize("task", CLASSES)
def test_clips_have_the_suites_shape_and_labels_are_balanced(task: str, clip: Clip) -> None:
    splits = splits_of(task, clip)
    assert len(splits.classes) == len(set(splits.classes)) == CLASSES[task]
    for split, count in zip(parts(splits), (120, 40, 41), strict=True):
        assert split.clips.shape == (count, clip.frames, clip.channels, clip.height, clip.width)
        assert (split.clips.dtype, split.labels.dtype, split.labels.shape) == (torch.float32, torch.int64, (count,))
        assert split.clips.min() == 0
        assert 0.9 < split.clips.max() <= 1
        assert (split.clips == split.clips[:, :, :1]).all()
        counts = Counter(split.labels.tolist())
        assert set(counts) == set(range(CLASSES[task]))
        assert max(counts.values()) - min(counts.values()) <= 1
        assert split.labels.tolist() != sorted(split.labels.tolist())


@pytest.mark.parametrize("task", DRAWN)
def test_a_seed_fixes_the_clips_without_reseeding_other_random_numbers(task: str) -> None:
    torch.manual_seed(3)
    np.random.seed(3)
    expected = torch.rand(3).tolist(), np.random.random(3).tolist()
    torch.manual_seed(3)
    np.random.seed(3)
    first = splits_of(task, seed=1)
    assert (torch.rand(3).tolist(), np.random.random(3).tolist()) == expected
    assert same(first, splits_of(task, seed=1))
    assert not same(first, splits_of(task, seed=2))


@pytest.mark.parametrize(
    ("task", "labels", "moments"),
    [
        ("identity", [6, 3, 4, 4, 1, 7], (30.2138, 28.8543, 30.1389)),
        ("direction", [4, 3, 6, 2, 5, 5], (29.7749, 30.8313, 30.2804)),
        ("binding", [0, 3, 2, 2, 1, 1], (42.5655, 44.3914, 39.3984)),
        ("order", [6, 3, 4, 4, 1, 7], (28.4696, 28.9951, 29.4023)),
    ],
)
def test_a_seed_gives_the_clips_of_earlier_versions(task: str, labels: list[int], moments: tuple[float, ...]) -> None:
    """Otherwise stored accuracies would not be comparable with new ones. ``moments`` are those of the first frames."""
    splits = splits_of(task, seed=1)
    assert splits.test.labels[:6].tolist() == labels
    frames = [split.clips[:, 0, 0] for split in parts(splits)]
    assert [float((frame @ torch.arange(32.0)).mean()) for frame in frames] == pytest.approx(moments, rel=1e-4)


@pytest.mark.parametrize("task", CLASSES)
def test_more_training_clips_do_not_change_validation_and_test_clips(task: str) -> None:
    few, more = splits_of(task), splits_of(task, training=Training(train_clips=300, val_clips=40, test_clips=41))
    assert torch.equal(few.val.clips, more.val.clips)
    assert torch.equal(few.test.clips, more.test.clips)


def source_of(digit: torch.Tensor) -> bytes:
    """Return the sorted values of a digit's pixels, which do not depend on its position."""
    return digit[digit > 0].sort().values.numpy().tobytes()


def in_squares(clip: Clip, training: Training) -> Splits:
    """Return binding's clips with every digit replaced by a full square."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digits.Digits, "resize", lambda self, size: torch.ones(len(self.images), size, size))
        return splits_of("binding", clip, training)


def larger_at(frame: torch.Tensor, size: int) -> tuple[int, int]:
    """Return (y, x) of the only full square of this size."""
    (corner,) = (torch.nn.functional.avg_pool2d(frame[None, None], size, 1)[0, 0] > 0.999).nonzero().tolist()
    return corner[0], corner[1]


def sources_by_pixels(task: str, which: int, splits: Splits, training: Training) -> set[bytes]:
    """Return the source digits in a split's first frames; for binding, only the larger digits."""
    frames = parts(splits)[which].clips[:, 0, 0]
    if task != "binding":
        return set(map(source_of, frames))
    size, squares = digits.box(CLIP), parts(in_squares(CLIP, training))[which].clips[:, 0, 0]
    corners = [larger_at(square, size) for square in squares]
    return {source_of(frame[y : y + size, x : x + size]) for frame, (y, x) in zip(frames, corners, strict=True)}


@pytest.mark.parametrize("task", CLASSES)
def test_no_source_digit_is_in_two_splits(task: str) -> None:
    training = Training(train_clips=600, val_clips=300, test_clips=300)
    splits = splits_of(task, training=training)
    size = digits.box(CLIP)
    for which, source in enumerate(digits.sources(0)):
        known = set(map(source_of, source.resize(size)))
        assert len(known) == len(source.rows)
        sources = sources_by_pixels(task, which, splits, training)
        assert len(sources) > 100
        assert sources <= known


def test_sources_split_the_whole_data_set_by_class() -> None:
    sources = digits.sources(4)
    rows = np.concatenate([source.rows for source in sources])
    assert sorted(rows) == list(range(1797))
    assert [round(len(source.rows) / 1797, 2) for source in sources] == [0.6, 0.2, 0.2]
    for source in sources:
        counts = np.bincount(source.labels, minlength=10)
        assert counts.max() - counts.min() < 0.12 * counts.mean()
    assert set(sources.test.rows) != set(digits.sources(5).test.rows)


def test_a_digit_chosen_by_class_has_that_class() -> None:
    source, classes = digits.sources(0).val, np.arange(1000) % 10
    chosen = source.of_classes(classes, random(0))
    assert (source.labels[chosen] == classes).all()
    assert len(set(chosen)) > 300


# --- What labels mean -------------------------------------------------------------------------------------------------


def shift(before: torch.Tensor, after: torch.Tensor) -> tuple[int, int]:
    """Return by how many pixels (y, x) the second frame is rolled: the peak of their circular cross-correlation."""
    spectrum = torch.fft.fft2(after) * torch.fft.fft2(before).conj()
    peak = int(torch.fft.ifft2(spectrum).real.argmax())
    height, width = before.shape
    y, x = divmod(peak, width)
    return (y + height // 2) % height - height // 2, (x + width // 2) % width - width // 2


@pytest.mark.parametrize("clip", [CLIP, Clip(1, 2, 1, 64, 48)], ids=str)
def test_direction_is_the_shift_between_frames(clip: Clip) -> None:
    split = splits_of("direction", clip).test
    for frames, label in zip(split.clips[:, :, 0], split.labels, strict=True):
        shifts = {shift(before, after) for before, after in pairwise(frames)}
        assert shifts == {tuple(int(step) * speed(clip) for step in STEPS[label])}
        assert torch.equal(frames[0].flatten().sort().values, frames[-1].flatten().sort().values)


def test_direction_names_match_their_steps() -> None:
    vertical, horizontal = {-1: "up", 0: "", 1: "down"}, {-1: "left", 0: "", 1: "right"}
    looks = ["-".join(filter(None, (vertical[y], horizontal[x]))) for y, x in STEPS]
    assert list(DIRECTIONS) == looks


def test_a_digits_start_does_not_reveal_its_direction() -> None:
    split = splits_of("direction", training=Training(train_clips=4000, val_clips=8, test_clips=8)).train
    mass = split.clips[:, 0, 0]
    middles = torch.stack([mass[split.labels == label].mean(0) for label in range(8)])
    assert (middles - middles.mean(0)).abs().max() < 0.1


def test_an_identity_label_is_the_class_of_the_digit() -> None:
    split, source = splits_of("identity").test, digits.sources(0).test
    images = source.resize(digits.box(CLIP))
    label_of = {source_of(image): label for image, label in zip(images, source.labels, strict=True)}
    for frames, label in zip(split.clips[:, :, 0], split.labels, strict=True):
        assert {label_of[source_of(frame)] for frame in frames} == {int(label)}
    moves = [shift(frames[0], frames[1]) for frames in split.clips[:, :2, 0]]
    assert len(set(moves)) == 8


def middles(splits: Splits) -> torch.Tensor:
    """Return the centre of each first frame's lit box, if no digit wraps around an edge."""
    lit = splits.train.clips[:, 0, 0] > 0
    centres = []
    for frame in lit:
        y, x = frame.nonzero().unbind(1)
        centres.append(torch.stack([(y.min() + y.max()) / 2, (x.min() + x.max()) / 2]))
    return torch.stack(centres)


def unevenness(jitter: float) -> float:
    """Return the standard deviation of the first frames' mean pixels, divided by their mean."""
    splits = splits_of("identity", training=Training(train_clips=4000, val_clips=10, test_clips=10), jitter=jitter)
    lit = splits.train.clips[:, 0, 0].mean(0)
    return float(lit.std() / lit.mean())


def test_jitter_sets_how_far_from_the_centre_a_digit_starts() -> None:
    still, some = middles(splits_of("identity", jitter=0.0)), middles(splits_of("identity", jitter=0.25))
    assert (still - 15.5).abs().max() < 5  # a digit is not centred in its box
    assert still.std(0).max() < 2 < some.std(0).min()
    assert unevenness(1.0) < 0.2 < 0.3 < unevenness(0.8)
    assert same(splits_of("identity"), splits_of("identity", jitter=1.0))


def test_identity_takes_a_number_of_training_clips_of_its_own() -> None:
    usual, few = splits_of("identity"), splits_of("identity", train_clips=30)
    assert len(few.train.labels) == 30 < len(usual.train.labels)
    assert torch.equal(few.test.clips, usual.test.clips)


@pytest.mark.parametrize("clip", [CLIP, Clip(1, 2, 1, 48, 31), Clip(1, 1, 1, 16, 16)], ids=str)
def test_a_binding_label_is_the_side_of_the_larger_digit(clip: Clip) -> None:
    size, small = digits.box(clip), digits.box(clip, 0.3)
    split = in_squares(clip, FEW).test
    for frames, label in zip(split.clips[:, :, 0], split.labels, strict=True):
        assert (frames == frames[0]).all()
        assert frames[0].sum() == size**2 + small**2
        y, x = larger_at(frames[0], size)
        rest = frames[0].clone()
        rest[y : y + size, x : x + size] = 0
        at = rest.nonzero().float().mean(0)
        down, right = (at - torch.tensor([y + (size - 1) / 2, x + (size - 1) / 2])).tolist()
        side = {"left": right, "right": -right, "above": down, "below": -down}[SIDES[int(label)]]
        assert side >= (size + small) // 2
        assert min(abs(down), abs(right)) <= 1


def test_a_pair_lies_anywhere_and_at_most_an_eighth_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    places: list[tuple[int, np.ndarray]] = []
    monkeypatch.setattr(binding, "stamp", lambda _, images, at: places.append((images.shape[-1], at[:, 0])))
    labels = binding._draw(Clip(1, 1, 1, 48, 32), digits.sources(0).train, 4000, random(0, 1)).labels.numpy()
    (large, first), (small, second) = places
    assert np.minimum(first, second).min(0).tolist() == [0, 0]
    assert np.maximum(first + large, second + small).max(0).tolist() == [48, 32]
    gaps = {"left": second - first - large, "right": first - second - small}
    gaps |= {"above": gaps["left"], "below": gaps["right"]}
    for label, side in enumerate(SIDES):
        assert set(gaps[side][labels == label, int(side in ("left", "right"))]) == set(range(5)), side


def test_digits_flash_near_the_centre() -> None:
    corners = order._centre_corners(Clip(1, 3, 1, 64, 48), 28, 4000, random(0, 1))[:, 0]
    assert corners.min(0).tolist() == [18 - 6, 10 - 6]
    assert corners.max(0).tolist() == [18 + 6, 10 + 6]


def test_an_order_label_is_the_class_of_the_first_digit() -> None:
    split, source = splits_of("order").test, digits.sources(0).test
    images = source.resize(digits.box(CLIP))
    label_of = {source_of(image): int(label) for image, label in zip(images, source.labels, strict=True)}
    for frames, label in zip(split.clips[:, :, 0], split.labels, strict=True):
        classes = [label_of[source_of(frame)] if frame.any() else None for frame in frames]
        a, b, c = classes[0], classes[3], classes[6]
        assert a == label
        assert len({a, b, c}) == 3
        assert classes == [a, a, None, b, b, None, c, c]


@pytest.mark.parametrize(
    ("frames", "timeline"),
    [
        (3, "abc"), (4, "a_bc"), (5, "a_b_c"), (6, "a__bc_"), (7, "a__b_c_"), (8, "aa_bb_cc"), (9, "aa_bb_cc_"),
        (16, "aaaa__bbbb_cccc_"),
    ],
)  # fmt: skip
def test_three_digits_fill_any_number_of_frames(frames: int, timeline: str) -> None:
    letters = ["_"] * frames
    for name, times in zip("abc", flashes(frames), strict=True):
        letters[times] = [name] * len(letters[times])
    assert "".join(letters) == timeline


@pytest.mark.parametrize("frames", range(3, 20))
def test_shuffled_frames_of_order_do_not_tell_by_their_number_which_digit_was_first(frames: int) -> None:
    """In clips of 16 frames the first digit was shown 5 times, the others 4 times. Yet 1/3 was said to be the best."""
    first, second, third = flashes(frames)
    assert first.stop - first.start == second.stop - second.start == third.stop - third.start > 0
    assert first.start == 0 and first.stop <= second.start and second.stop <= third.start and third.stop <= frames


def test_a_placed_digit_is_whole_and_around_its_stated_centre() -> None:
    clip = Clip(1, 1, 3, 32, 48)
    placement = digits.place_digits(digits.sources(0).train, clip, 300, random(0, 1))
    assert placement.frames.shape == (300, 3, 32, 48)
    half = digits.box(clip) / 2
    for frame, (y, x) in zip(placement.frames[:, 0], placement.centres * torch.tensor([32, 48]), strict=True):
        rows, columns = frame.nonzero().unbind(1)
        assert y - half <= rows.min() <= rows.max() < y + half
        assert x - half <= columns.min() <= columns.max() < x + half
    assert placement.centres.min() > 0.1
    assert placement.centres.max() < 0.9
    assert set(placement.labels.tolist()) == set(range(10))


@pytest.mark.parametrize("task", CLASSES)
def test_a_too_small_clip_is_refused_with_the_smallest_size(task: str) -> None:
    with pytest.raises(Impossible, match=r"clip 1x8x1x12x40 are too small for a digit .* at least 16x40"):
        splits_of(task, Clip(1, 8, 1, 12, 40))


def test_too_few_frames_are_refused_with_the_number_needed() -> None:
    with pytest.raises(
        Impossible, match="clip 1x2x1x32x32 has 2 frames and order flashes 3 digits: give it at least 3"
    ):
        splits_of("order", Clip(1, 2, 1, 32, 32))
    with pytest.raises(Impossible, match=r"has 1 frames and direction needs two .* at least 2"):
        splits_of("direction", Clip(1, 1, 1, 32, 32))


def test_missing_scikit_learn_is_reported_with_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    digits._all_digits.cache_clear()
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(Unavailable, match=r"need scikit-learn: pip install scikit-learn"):
        splits_of("identity")


@pytest.mark.parametrize(
    ("splits", "words"),
    [
        (None, "returned NoneType: it must return Splits"),
        (Splits(*3 * [Labelled(torch.rand(4, 4, 1, 8, 8).double(), torch.arange(4) % 2)], ("a", "b")),
         "clips and labels of train must be tensors, and clips float32"),
        (Splits(*3 * [Labelled(torch.rand(4, 4, 1, 5, 5), torch.arange(4) % 2)], ("a", "b")),
         "clips of train are (4, 1, 5, 5), not (4, 1, 8, 8)"),
        (Splits(*3 * [Labelled(torch.rand(4, 4, 1, 8, 8), torch.arange(4))], ("a", "b")),
         "labels of train are not the number of each clip's class, int64 from 0 to 1"),
        (Splits(*3 * [Labelled(torch.rand(4, 4, 1, 8, 8), torch.arange(4) % 2.0)], ("a", "b")),
         "labels of train are not the number of each clip's class, int64 from 0 to 1"),
    ],
)  # fmt: skip
def test_a_task_that_returns_wrong_data_is_refused(splits: Any, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clips of a wrong size used to be trained on without a message. The other cases ended in torch's errors."""
    monkeypatch.setitem(tasks._plugins, "odd", Plugin("odd", lambda *_: splits, "", {}))
    with pytest.raises(ConvbenchError, match=re.escape(f"the task odd{'' if splits is None else ':'} {words}")):
        splits_of("odd", OWN)


def test_an_unknown_task_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConvbenchError, match="unknown task 'direktion'; did you mean 'direction'"):
        splits_of("direktion")


def test_importing_the_tasks_does_not_import_torch() -> None:
    program = "import sys, convbench.measure.quality.tasks; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# --- Controls ---------------------------------------------------------------------------------------------------------


def ordered(frames: torch.Tensor) -> torch.Tensor:
    """Sort the frames of each clip by their pixels, to compare clips regardless of frame order."""
    rows = [sorted(map(bytes, clip.numpy().reshape(len(clip), -1).view(np.uint8))) for clip in frames]
    return torch.tensor([[list(frame) for frame in clip] for clip in rows])


def test_no_control_leaves_the_splits_unchanged() -> None:
    splits = splits_of("direction")
    assert controls.apply(None, splits, 0) is splits


def test_frame_shuffle_changes_only_the_order_of_frames() -> None:
    splits = splits_of("direction")
    before = [split.clips.clone() for split in parts(splits)]
    shuffled = controls.apply("frame-shuffle", splits, 0)
    for old, split, new in zip(before, parts(splits), parts(shuffled), strict=True):
        assert torch.equal(old, split.clips)
        assert torch.equal(split.labels, new.labels)
        assert torch.equal(ordered(split.clips[:20]), ordered(new.clips[:20]))
        moved = (split.clips != new.clips).flatten(1).any(1)
        assert moved.float().mean() > 0.95
    orders = {shift(clip[0, 0], clip[1, 0]) for clip in shuffled.test.clips}
    assert len(orders) > 8
    assert same(shuffled, controls.apply("frame-shuffle", splits, 0))
    assert not same(shuffled, controls.apply("frame-shuffle", splits, 1))


def test_single_frame_repeats_the_middle_frame() -> None:
    splits = splits_of("direction")
    stilled = controls.apply("single-frame", splits, 0)
    for split, new in zip(parts(splits), parts(stilled), strict=True):
        assert new.clips.shape == split.clips.shape
        assert (new.clips == split.clips[:, 4:5]).all()
        assert torch.equal(split.labels, new.labels)


def test_label_permutation_changes_only_the_training_labels() -> None:
    splits = splits_of("identity", training=Training(train_clips=2000, val_clips=40, test_clips=40))
    permuted = controls.apply("label-permutation", splits, 0)
    assert torch.equal(splits.train.clips, permuted.train.clips)
    assert Counter(splits.train.labels.tolist()) == Counter(permuted.train.labels.tolist())
    share = (splits.train.labels == permuted.train.labels).float().mean()
    assert 0.07 < share < 0.13
    assert splits.val is permuted.val
    assert splits.test is permuted.test


def ways_that_explain(clip: torch.Tensor) -> list[int]:
    """Return the directions that explain most frames of a clip (T, H, W) as its first frame moved by whole steps."""
    pixels, frames = speed(CLIP), len(clip)
    counts = []
    for step in STEPS:
        moved = [
            clip[0].roll(tuple(int(n * pixels * component) for component in step), (0, 1))
            for n in range(1 - frames, frames)
        ]
        counts.append(sum(any(torch.equal(frame, candidate) for candidate in moved) for frame in clip))
    return [way for way, count in enumerate(counts) if count == max(counts)]


def test_the_best_reader_of_shuffled_frames_is_half_right() -> None:
    """The expected accuracy of the control used to be chance, an eighth. The reader in this test sees on which line the
    frames lie. Two directions share a line, and the reader answers the one that is more frequent on it."""
    splits = controls.apply("frame-shuffle", splits_of("direction"), 0)
    clips, labels = splits.test.clips[:, :, 0], splits.test.labels.tolist()
    explanations = [ways_that_explain(clip) for clip in clips]
    assert all(label in ways and len(ways) == 2 for ways, label in zip(explanations, labels, strict=True))
    answers = Counter(zip(map(tuple, explanations), labels, strict=True))
    lines = {ways for ways, _ in answers}
    right = sum(max(answers[ways, way] for way in ways) for ways in lines) / len(labels)
    expected = controls.expected_accuracy("frame-shuffle", Choice("direction"), 8)
    assert len(lines) == 4
    assert expected == 0.5 <= right <= 0.5 + 1 / len(labels)


def test_the_middle_frame_of_order_shows_the_second_digit_so_a_ninth_is_right() -> None:
    """With exactly 6 frames it was blank, and a tenth is right."""
    for frames in range(3, 200):
        assert flashes(frames)[1].start <= frames // 2 < flashes(frames)[1].stop
    assert controls.expected_accuracy("single-frame", Choice("order"), 10) == 1 / 9
    assert controls.expected_accuracy("frame-shuffle", Choice("order"), 10) == 1 / 3


def test_permuted_labels_expect_chance_and_harmless_controls_expect_nothing() -> None:
    assert controls.expected_accuracy("label-permutation", Choice("identity"), 10) == 0.1
    assert controls.expected_accuracy("frame-shuffle", Choice("identity"), 10) is None
    assert controls.expected_accuracy(None, Choice("direction"), 8) is None


def test_an_unknown_control_is_refused_with_the_nearest_name() -> None:
    assert get_args(ControlName) == tuple(controls.CONTROLS)
    with pytest.raises(ConvbenchError, match="unknown control 'frame-shufle'; did you mean 'frame-shuffle'"):
        controls.apply("frame-shufle", splits_of("identity"), 0)


@pytest.mark.parametrize("control", controls.CONTROLS)
def test_a_control_leaves_other_random_numbers_alone(control: str) -> None:
    splits, before = splits_of("binding"), torch.get_rng_state()
    controls.apply(control, splits, 0)
    assert torch.equal(before, torch.get_rng_state())


# --- The user's own clips, from a function ----------------------------------------------------------------------------


def firsts(split: Labelled) -> list[int]:
    """Return the numbers of the clips of ``own_clips.clips`` in a split."""
    return [round(float(clip.flatten()[0]) * 255) for clip in split.clips]


def test_own_clips_are_split_by_class_without_overlap() -> None:
    splits = own("clips")
    assert splits.classes == ("cat", "dog", "eel")
    indices = list(map(firsts, parts(splits)))
    assert sorted(which for some in indices for which in some) == list(range(40))
    assert [len(some) for some in indices] == [28, 6, 6]
    for split, which in zip(parts(splits), indices, strict=True):
        assert [i % 3 for i in which] == split.labels.tolist()
        assert set(split.labels.tolist()) == {0, 1, 2}
        assert which != sorted(which)
    assert splits.pool is not None
    assert (splits.pool.size, list(splits.pool.test_sources)) == (40, indices[2])
    assert same(splits, own("clips"))
    assert not same(splits, own("clips", seed=1))


def test_own_clips_are_limited_to_the_numbers_in_training() -> None:
    splits = own("clips", training=Training(train_clips=9, val_clips=3, test_clips=4), count=200)
    assert [len(split.labels) for split in parts(splits)] == [9, 3, 4]
    assert [sorted(Counter(split.labels.tolist()).values()) for split in parts(splits)] == [
        [3, 3, 3],
        [1] * 3,
        [1, 1, 2],
    ]


def test_every_split_holds_a_rare_class_and_keeps_proportions() -> None:
    labels = np.array([0] * 900 + [1] * 90 + [2] * 6)
    chosen = stratify(labels, 0.15, random(0), (100, 20, 20))
    assert [np.bincount(labels[some]).tolist() for some in chosen[:1]] == [[90, 9, 1]]
    assert all((np.bincount(labels[some], minlength=3) >= 1).all() for some in chosen)
    assert len(set(np.concatenate(chosen))) == 140


@pytest.mark.parametrize(
    ("form", "value"),
    [("uint8", 0.2), ("without-channel", 0.2), ("beyond-one", -7.5)]
    + [(form, 0.5) for form in ("float64", "big-endian", "half", "gradient", "lists")],
)
def test_own_clips_may_have_any_numeric_form(form: str, value: float) -> None:
    splits = own("forms", form=form)
    assert splits.classes == ("0", "1")
    for split in parts(splits):
        assert (split.clips.dtype, split.clips.shape[1:]) == (torch.float32, (4, 1, 8, 8))
        torch.testing.assert_close(split.clips, torch.full_like(split.clips, value))
        assert not split.clips.requires_grad


def test_a_data_set_needs_no_length() -> None:
    assert sum(len(split.labels) for split in parts(own("Endings"))) == 20


@pytest.mark.parametrize(("dtype", "unit"), [("float32", 1), ("uint8", 255)])
def test_a_reused_buffer_does_not_change_earlier_clips(dtype: str, unit: int) -> None:
    splits = own("reused", dtype=dtype)
    values = [float(clip.mean()) * unit for split in parts(splits) for clip in split.clips]
    assert sorted(values) == pytest.approx(list(range(20)), abs=1e-4)


WRONG = {
    "shape": r"clip 3 has shape (6, 3, 10, 12), and the suite's clip 2x4x1x8x8 asks for (T, C, H, W) = (4, 1, 8, 8): "
    "write `clip: 2x6x3x10x12` in the suite, or resize",
    "grey": "clip 3 has shape (5, 10, 12), and|write `clip: 2x5x1x10x12`",
    "last": "clip 3 has shape (4, 8, 8, 1), and|channels seem to come last: move them with clip.transpose(0, 3, 1, 2)",
    "flat": "clip 3 has shape (5,), and|make every clip (T, C, H, W)",
    "empty": "clip 3 has shape (0, 1, 8, 8), and|make every clip (T, C, H, W)",
    "bool": "clip 3 has dtype bool: give uint8 (0 to 255, scaled to [0, 1]) or a float type",
    "int64": "clip 3 has dtype int64: give uint8",
    "complex": "clip 3 has dtype complex64: give uint8",
    "object": "clip 3 has dtype object: give uint8",
    "text": "clip 3 has dtype <U7: give uint8",
    "ragged": "clip 3 is not an array:|give an array or a tensor (T, C, H, W)",
    "sparse": "clip 3 is not an array:|give an array or a tensor (T, C, H, W)",
    "nan": "clip 3 has NaN or infinite values, the first at (t, c, y, x) = (2, 0, 1, 5): "
    "clean the clip or leave it out",
    "inf": "clip 3 has NaN or infinite values, the first at (t, c, y, x) = (2, 0, 1, 5)",
    "missing": "clip 3 has no label: give every clip the int or text that names its class",
    "not-a-number": "clip 3 has no label: give every clip the int or text that names its class",
    "float": "clip 3 has the label '0.5' (float): a label is an int or text; only classes are learned here, so",
    "batch": "clip 3 is a batch of 2: yield its clips one by one, for instance by returning the Dataset instead of its",
    "batch of texts": "clip 3 is a batch of 2: yield its clips one by one",
    "dict": "clip 3 is of type dict, not an array of numbers: read it in your function",
    "swapped": "clip 3 has its label first: yield the clip, then the label",
    "several": "clip 3 has the label '[1 2]' (ndarray): a label is an int or text; name one of several classes",
    "mixed": "plugins.own_clips:wrong labels some clips with an int and others with text: use one of them",
    "pair": "item 3 is a tuple of 1: yield pairs of a clip (T, C, H, W) and its label, an int or text",
}


@pytest.mark.parametrize("how", WRONG)
def test_a_wrong_clip_is_named_with_a_remedy(how: str) -> None:
    sentence = message("wrong", how=how)
    assert sentence.startswith("plugins.own_clips:wrong")
    for part in WRONG[how].split("|"):
        assert part in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        ("one_class", "has one class only, 'cat': there is nothing to tell apart"),
        (
            "few",
            "too few clips of 1 of its 2 classes: 'cat' has 5; every class needs 6: add clips or leave the class out",
        ),
        ("empty", "yields no clip: yield pairs of a clip"),
        ("none", "returned NoneType: make it a generator that yields pairs of a clip"),
        ("broken", "raised OSError after 7 clips: disk on fire"),
        ("ends_the_program", "raised SystemExit after 7 clips: no more"),
        ("number", "is of type int: make it a function that yields"),
        ("nowhere", "'plugins.own_clips' has no 'nowhere'"),
    ],
)
def test_a_wrong_set_of_clips_is_refused_with_the_reason(function: str, sentence: str) -> None:
    assert sentence in message(function)


@pytest.mark.parametrize(
    ("form", "classes"),
    [
        *(("truth", ("False", "True")), ("numpy-truth", ("False", "True")), ("bytes", ("cat", "dog"))),
        *(("numpy-bytes", ("cat", "dog")), ("whole", ("0", "1")), ("rows", ("0", "1")), ("members", ("cat", "dog"))),
    ],
)
def test_labels_may_be_booleans_bytes_whole_floats_or_rows(form: str, classes: tuple[str, ...]) -> None:
    assert own("labels", form=form).classes == classes


@pytest.mark.parametrize("mixed", [0, 12])
@pytest.mark.parametrize("seed", range(5))
def test_clips_of_a_recording_are_all_in_one_split(seed: int, mixed: int) -> None:
    """Three of four clips of a recording used to be trained on, and the fourth measured the accuracy."""
    splits = own("Recordings", seed=seed, mixed=mixed)
    recordings = [set(firsts(split)) for split in parts(splits)]
    assert sorted(which for some in recordings for which in some) == list(range(12))
    assert [len(split.labels) for split in parts(splits)] == [80, 20, 20]
    assert all(set(split.labels.tolist()) == {0, 1} for split in parts(splits))
    pool = splits.pool
    assert pool is not None
    assert (pool.size, len(set(pool.test_sources)), len(pool.test_sources)) == (12, len(recordings[2]), 20)
    few = own("Recordings", seed=seed, mixed=mixed, training=Training(train_clips=9, val_clips=4, test_clips=5))
    assert [len(split.labels) for split in parts(few)] == [9, 4, 5]
    assert set(firsts(few.test)) <= recordings[2]


def test_recordings_of_three_classes_give_every_clip_once() -> None:
    labels, groups = np.repeat(np.arange(3), 12), np.arange(36) // 2
    split = stratify_groups(labels, groups, 0.2, random(0), (100, 100, 100))
    assert split is not None and sorted(np.concatenate(split)) == list(range(36))


def test_recordings_that_cannot_be_split_are_refused() -> None:
    assert "its 4 groups cannot be split so that every class is in all three" in message("Recordings", recordings=4)
    assert "clip 3 has no group, but other clips have one: give every clip a group" in message("Recordings", lacks=True)


def test_duplicate_clips_are_reported() -> None:
    """Duplicates on both sides of the split or under two labels used to go unreported, and accuracy was too high."""
    assert list(repeated_clips(own("clips"))) == list(repeated_clips(splits_of("identity"))) == []
    twice = own("clips", count=80, repeats=2)
    learned = {*firsts(twice.train), *firsts(twice.val)}
    known = sum(which in learned for which in firsts(twice.test))
    assert [(finding.code, dict(finding.data)) for finding in repeated_clips(twice)] == [
        ("test_clips_known", {"known": known, "clips": len(twice.test.labels)})
    ]
    assert known > 0
    codes = {finding.code: dict(finding.data) for finding in repeated_clips(own("clips", count=80, repeats=4))}
    assert codes["clips_of_two_labels"] == {"clips": 20}


def test_trainings_of_a_run_share_the_clips_of_a_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process used to load its own: int8 was tested on clips that its model had learned in another process."""
    assert not same(own("unseeded"), own("unseeded"))
    monkeypatch.setenv(scratch.CLIPS, str(tmp_path))
    first = own("unseeded")
    shared = own("unseeded")
    assert same(first, shared)
    assert shared.classes == first.classes == ("0", "1")
    assert shared.pool and first.pool and shared.pool.test_sources == first.pool.test_sources
    assert not same(first, own("unseeded", seed=1))
    assert len(own("unseeded", training=Training(train_clips=9)).train.labels) == 9


def test_a_functions_shuffle_is_the_same_in_every_process() -> None:
    """Python seeds ``random`` anew in each process. Loading clips must not change the numbers drawn afterwards."""
    random_numbers.seed(1)
    first, drawn = own("shuffled"), random_numbers.random()
    random_numbers.seed(2)
    assert same(first, own("shuffled"))
    random_numbers.seed(1)
    assert random_numbers.random() == drawn
    assert sorted(which for split in parts(first) for which in firsts(split)) == list(range(40))


def test_endless_clips_are_refused_before_they_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """They used to be loaded until a time limit reported a missing result, or until the memory was full."""
    monkeypatch.setattr(user_clips, "available_memory", lambda: 2 * 256 * 3000)
    signs: list[str] = []
    monkeypatch.setattr(progress, "tell", lambda doing, _: signs.append(doing))
    sentence = message("endless")
    assert "plugins.own_clips:endless has yielded 3,001 clips and goes on, but 0.00 GiB are half of the" in sentence
    assert "if it never ends, limit it, for instance by an option count" in sentence
    assert signs[200] == "loading clip 2,000 of plugins.own_clips:endless"


def test_waiting_for_clips_of_another_process_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A time limit that ended the wait used to name no cause."""
    monkeypatch.setenv(scratch.CLIPS, str(tmp_path))
    own("unseeded")
    (file,) = tmp_path.glob("*.lock")
    signs: list[str] = []

    def told(doing: str, _: object) -> None:
        signs.append(doing)
        other.close()

    with ExitStack() as other:
        other.enter_context(lock.hold(file))
        monkeypatch.setattr(progress, "tell", told)
        own("unseeded")
    assert signs == ["waiting for another process of the run, which loads or trains the same"]


def test_clips_that_do_not_fit_the_disk_are_loaded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(scratch.CLIPS, str(tmp_path))

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))  # a write beyond it fails, as on a full disk
    try:
        assert not same(own("unseeded"), own("unseeded"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with monkeypatch.context() as patch:
        patch.setattr(run_files, "SHARE_OF_DISK", 0.0)
        assert not same(own("unseeded"), own("unseeded"))
    assert [file.suffix for file in tmp_path.iterdir()] == [".lock"]


def test_unscaled_floats_are_reported() -> None:
    """With floats from 0 to 255, a different reducer led than with floats from 0 to 1."""
    assert list(large_values(own("clips"))) == list(large_values(own("forms", form="beyond-one"))) == []
    assert [dict(finding.data) for finding in large_values(own("reused", dtype="float32", highest=-255))] == [
        {"largest": -255.0}
    ]


def test_a_registered_task_can_be_named_by_import_path() -> None:
    """The task used to be called as a function that yields pairs, without a task's arguments."""
    by_path = splits_of("convbench.plugins.tasks.direction:direction")
    assert torch.equal(by_path.test.clips, splits_of("direction").test.clips)


def test_an_option_unknown_to_the_function_is_refused() -> None:
    assert "raised TypeError: clips() got an unexpected keyword argument 'size'" in message("clips", size=3)


def test_every_split_holds_every_class_even_with_few_clips() -> None:
    splits = own("many_classes", training=Training(train_clips=100, val_clips=20, test_clips=40))
    assert [len(split.labels) for split in parts(splits)] == [100, 30, 30]
    assert [len(set(split.labels.tolist())) for split in parts(splits)] == [30, 30, 30]
    assert splits.classes[:3] == ("0", "1", "2")


# --- The user's own clips, from .npz files ----------------------------------------------------------------------------


def save_one_each(folder: Path, count: int = 12) -> None:
    for i in range(count):
        clip = np.full((4, 1, 8, 8), i, dtype=np.uint8)
        np.savez(folder / f"{i:02}.npz", clip=clip, label=("cat", "dog")[i % 2])


def npz(folder: Path) -> Splits:
    return splits_of("npz-folder", OWN, path=str(folder))


def npz_message(folder: Path) -> str:
    with pytest.raises(ConvbenchError) as caught:
        npz(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_npz_files_may_hold_one_clip_each(tmp_path: Path) -> None:
    save_one_each(tmp_path)
    (tmp_path / "notes.txt").write_text("not a clip")
    (tmp_path / ".hidden.npz").write_text("not a clip")
    splits = npz(tmp_path)
    assert splits.classes == ("cat", "dog")
    assert [len(split.labels) for split in parts(splits)] == [8, 2, 2]
    for split in parts(splits):
        assert [which % 2 for which in firsts(split)] == split.labels.tolist()


def test_npz_files_may_hold_many_clips(tmp_path: Path) -> None:
    values = np.arange(14, dtype=np.float32)[:, None, None, None, None]
    np.savez_compressed(
        tmp_path / "a.npz", clips=np.zeros((14, 4, 1, 8, 8), np.float32) + values, labels=np.arange(14) % 2
    )
    splits = npz(tmp_path)
    for split in parts(splits):
        assert [int(clip.mean()) % 2 for clip in split.clips] == split.labels.tolist()


def test_npz_files_may_hold_label_columns_bytes_and_groups(tmp_path: Path) -> None:
    """Also check a single file instead of a folder."""
    values = np.arange(14, dtype=np.uint8)[:, None, None, None, None]
    labels, clips = np.array([b"cat", b"dog"])[np.arange(14) % 2, None], np.zeros((14, 4, 1, 8, 8), np.uint8) + values
    np.savez(tmp_path / "a.npz", clips=clips, labels=labels, groups=np.arange(14) // 2 * 2 + np.arange(14) % 2)
    splits = npz(tmp_path / "a.npz")
    assert splits.classes == ("cat", "dog")
    assert same(splits, npz(tmp_path))
    assert [[which % 2 for which in firsts(split)] == split.labels.tolist() for split in parts(splits)] == [True] * 3
    np.savez(tmp_path / "a.npz", clips=clips, labels=np.eye(2)[np.arange(14) % 2])
    assert "labels or groups of shape (14, 2): save one of each per clip (for one-hot labels" in npz_message(tmp_path)
    for i in range(14):
        np.savez(tmp_path / f"{i}.npz", clip=clips[i], label=i % 2, group=i // 4)
    (tmp_path / "a.npz").unlink()
    sides = [{which // 4 for which in firsts(split)} for split in parts(npz(tmp_path))]
    assert sorted(group for side in sides for group in side) == [0, 1, 2, 3]


def test_a_folder_without_npz_files_is_refused(tmp_path: Path) -> None:
    assert f"{tmp_path} has no .npz file: save clips there with numpy.savez" in npz_message(tmp_path)
    assert "npz-folder:" in npz_message(tmp_path / "none")
    assert "does not exist" in npz_message(tmp_path / "none")
    (tmp_path / "file").touch()
    assert "is a file" in npz_message(tmp_path / "file")


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"x": np.zeros(3)}, "bad.npz holds x: save clip and label, or clips and labels, in it"),
        ({}, "bad.npz holds nothing: save"),
        ({"clip": np.zeros((4, 1, 8, 8))}, "bad.npz holds clip: save clip and label"),
        ({"clip": np.zeros((4, 1, 9, 9)), "label": 1}, "bad.npz has shape (4, 1, 9, 9), and"),
        ({"clip": np.zeros((4, 1, 8, 8)), "label": 0.5}, "bad.npz has the label '0.5' (float)"),
        (
            {"clips": np.zeros((3, 4, 1, 8, 8)), "labels": [1, 2]},
            "labels or groups of shape (2,): save one of each",
        ),
        ({"clips": np.full((3, 4, 1, 8, 8), np.nan), "labels": [1, 2, 2]}, "bad.npz, clip 0 has NaN"),
        ({"clip": np.zeros((4, 1, 8, 8), object), "label": 1}, "bad.npz: clip cannot be read: Object arrays"),
    ],
)
def test_a_wrong_npz_file_is_named(tmp_path: Path, arrays: dict[str, Any], sentence: str) -> None:
    save_one_each(tmp_path)
    np.savez(tmp_path / "bad.npz", **arrays)
    assert sentence in npz_message(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04 cut off"])
def test_a_file_that_is_not_npz_is_named(tmp_path: Path, content: bytes) -> None:
    save_one_each(tmp_path)
    (tmp_path / "bad.npz").write_bytes(content)
    sentence = npz_message(tmp_path)
    assert f"{tmp_path / 'bad.npz'} is not a readable .npz file: " in sentence
    assert "write it with numpy.savez" in sentence


def test_a_npy_file_called_npz_is_named(tmp_path: Path) -> None:
    with (tmp_path / "bad.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    assert "bad.npz is not a readable .npz file: " in npz_message(tmp_path)


# --- The user's own clips, from videos --------------------------------------------------------------------------------


def write_video(path: Path, colour: tuple[int, int, int], frames: int = 8) -> None:
    """Write a video that fades from black to a colour."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 48, 32, "yuv420p", 800_000
        for i in range(frames):
            pixels = np.full((32, 48, 3), colour, dtype=np.float64) * i / max(1, frames - 1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels.astype(np.uint8), format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    for name, colour in {"blue": (0, 0, 240), "green": (0, 240, 0)}.items():
        (tmp_path / name).mkdir()
        for i in range(6):
            write_video(tmp_path / name / f"{i}.mp4", colour)
    (tmp_path / "README.txt").write_text("videos of two colours")
    (tmp_path / "blue" / ".DS_Store").write_text("")
    return tmp_path


def watched(folder: Path, clip: Clip) -> Splits:
    return splits_of("video-folder", clip, path=str(folder))


def video_message(folder: Path, clip: Clip = OWN) -> str:
    with pytest.raises(ConvbenchError) as caught:
        watched(folder, clip)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_videos_are_sampled_evenly_and_scaled_to_the_clip(videos: Path) -> None:
    splits = watched(videos, Clip(2, 4, 3, 8, 12))
    assert splits.classes == ("blue", "green")
    assert [len(split.labels) for split in parts(splits)] == [8, 2, 2]
    for split in parts(splits):
        assert split.clips.shape[1:] == (4, 3, 8, 12)
        brightness = split.clips.mean((3, 4))
        for levels, label in zip(brightness, split.labels, strict=True):
            own_channel = 2 - int(label)
            assert levels[-1].argmax() == own_channel
            torch.testing.assert_close(levels[:, own_channel], torch.tensor([0, 2, 5, 7]) / 7 * 0.94, atol=0.08, rtol=0)
    grey = watched(videos, Clip(2, 12, 1, 8, 8))
    assert grey.train.clips.shape == (8, 12, 1, 8, 8)  # more frames than the video has


def test_a_video_may_be_a_folder_of_its_frames(tmp_path: Path) -> None:
    """Frames are taken in the order of their numbers, and other files are ignored."""
    av = pytest.importorskip("av")
    for name in ("blue", "green"):
        for i in range(6):
            folder = tmp_path / name / f"video {i}"
            folder.mkdir(parents=True)
            (folder / "notes.txt").write_text("0 to 10")
            for frame in range(11):
                pixels = np.full((16, 16, 3), 25 * frame, dtype=np.uint8)
                with av.open(str(folder / f"img_{frame}.png"), "w", format="image2") as container:
                    stream = container.add_stream("png")
                    stream.width, stream.height, stream.pix_fmt = 16, 16, "rgb24"
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
    splits = watched(tmp_path, Clip(2, 6, 1, 8, 8))
    levels = splits.train.clips.mean((2, 3, 4))
    torch.testing.assert_close(levels, (torch.arange(0, 11, 2) * 25 / 255).expand_as(levels), atol=0.01, rtol=0)


def test_only_the_frames_of_a_clip_are_scaled(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All frames used to be scaled, which took nine tenths of the time."""
    scaled: list[Any] = []
    frame = np.zeros((1, 8, 8), dtype=np.uint8)
    monkeypatch.setattr(video_folder, "_scale", lambda *args: scaled.append(args) or frame)
    assert watched(videos, Clip(2, 3, 1, 8, 8)).train.clips.shape == (8, 3, 1, 8, 8)
    assert len(scaled) == 3 * 12


@pytest.mark.parametrize("groups", [r"session\d", r"(session\d)_.*"])
def test_videos_of_a_recording_are_all_in_one_split(videos: Path, groups: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("blue", "green"):
        for i in range(6):
            (videos / kind / f"{i}.mp4").rename(videos / kind / f"{kind} session{i // 2}_{i}.mp4")
    names: list[str] = []
    clip = np.zeros((4, 1, 8, 8), dtype=np.uint8)
    monkeypatch.setattr(video_folder, "decode_frames", lambda files, _: names.append(files[0].name) or clip)
    for seed in range(3):
        names.clear()
        splits = splits_of("video-folder", OWN, seed=seed, path=str(videos), groups=groups)
        assert [len(split.labels) for split in parts(splits)] == [4, 4, 4]
        sides = [{name.split("_")[0].split()[1] for name in names[at : at + 4]} for at in (0, 4, 8)]
        assert not (sides[0] & sides[1] | sides[0] & sides[2] | sides[1] & sides[2])


@pytest.mark.parametrize(
    ("groups", "sentence"),
    [
        ("(", "video-folder: groups=( is not a regular expression: missing ), unterminated subpattern"),
        (
            "session",
            "0.mp4: groups=session matches nothing in its name: write an expression that matches all names",
        ),
    ],
)
def test_a_wrong_groups_expression_is_refused(videos: Path, groups: str, sentence: str) -> None:
    with pytest.raises(ConvbenchError, match=re.escape(sentence)):
        splits_of("video-folder", OWN, path=str(videos), groups=groups)


def test_a_folder_named_like_a_protocol_is_a_folder(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (videos / "blue").rename(videos / "http:blue")
    monkeypatch.chdir(videos)
    assert watched(Path(), OWN).classes == ("green", "http:blue")


@pytest.mark.parametrize("inside", ["", "walk"])
def test_a_class_without_videos_is_named(videos: Path, inside: str) -> None:
    (videos / "train" / inside).mkdir(parents=True)
    expected = "walk has no pictures in it: " if inside else "train has no videos in it: "
    assert expected in video_message(videos)


def test_a_video_that_does_not_decode_is_named(videos: Path) -> None:
    bad = videos / "green" / "5.mp4"
    bad.write_bytes(b"no video at all, no video at all")
    sentence = video_message(videos)
    assert (
        f"{bad} cannot be decoded: Invalid data found when processing input; convert the video or remove it" in sentence
    )
    bad.write_bytes((videos / "green" / "4.mp4").read_bytes()[:700])
    assert f"{bad} cannot be decoded: " in video_message(videos)


def test_a_file_with_sound_only_is_named(videos: Path) -> None:
    av = pytest.importorskip("av")
    bad = videos / "green" / "5.wav"
    with av.open(str(bad), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), dtype=np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    (videos / "green" / "5.mp4").unlink()
    assert f"{bad} cannot be decoded: it contains no video" in video_message(videos)


def test_unusable_videos_are_refused_with_the_reason(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert "clip 2x4x2x8x8 has 2 channels, but a video has 1 (grey) or 3 (RGB)" in video_message(
        videos, Clip(2, 4, 2, 8, 8)
    )
    (videos / "green" / "5.mp4").unlink()
    assert "too few clips of 1 of its 2 classes: 'green' has 5" in video_message(videos)
    assert "has no folder with videos in it" in video_message(tmp_path_factory.mktemp("empty"))
    assert "video-folder:" in video_message(videos / "none")


def test_missing_pyav_is_reported_with_the_install_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(Unavailable, match=r"decoded by PyAV: pip install 'convbench\[video\]'"):
        watched(tmp_path, OWN)
