"""Test the predicted extra memory of CPU operators against the profiler's measurements."""

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from convbench.measure.memory.onednn import extra_bytes

pytestmark = pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() != "AVX512", reason="blocks of channels were found on AVX-512"
)
CASES = [  # frames, inputs, outputs, kernel, stride, groups, dimensions
    (16, 32, 16, 1, 1, 1, 2), (16, 32, 128, 1, 1, 1, 2), (4, 32, 16, 1, 1, 1, 2), (15, 3, 8, 1, 1, 1, 2),
    (16, 3, 8, 1, 2, 1, 2), (16, 8, 16, 3, 1, 1, 2), (16, 16, 8, 3, 1, 1, 2), (16, 17, 32, 5, 2, 1, 2),
    (1, 3, 8, 3, 1, 1, 2), (2, 12, 12, 3, 1, 12, 2), (16, 16, 4, 5, 1, 2, 2), (16, 32, 16, 3, 1, 2, 2),
    (15, 4, 32, 1, 1, 2, 2), (16, 32, 6, 3, 2, 1, 1), (4, 8, 6, 3, 1, 1, 1), (16, 32, 6, 1, 1, 1, 3),
    (2, 8, 4, 5, 2, 1, 3), (8, 33, 17, 3, 1, 1, 2), (8, 17, 12, 1, 1, 1, 2), (8, 15, 15, 3, 1, 15, 2),
    (4, 7, 9, 3, 1, 1, 3), (2, 48, 16, 1, 2, 1, 1), (4, 32, 10, 1, 2, 1, 2), (2, 64, 8, 3, 1, 8, 3),
    (2, 40, 40, 3, 2, 40, 3), (4, 8, 2, 1, 1, 2, 3),
]  # fmt: skip


def peak(call) -> tuple[int, torch.Tensor]:
    """Return the peak bytes of a warmed-up call, including its output, and the output."""
    with torch.no_grad():
        call()
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            output = call()
    events = profiler.profiler.kineto_results.events()
    now = most = 0
    for _, size in sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]"):
        now += size
        most = max(most, now)
    return most, output


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_convolutions_peak_is_predicted(case, dtype):
    """Of 16-bit types, also test channels that do not fill a block. oneDNN's support depends on the CPU."""
    frames, inputs, outputs, kernel, stride, groups, dimensions = case
    kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions - 1]
    module = kind(inputs, outputs, kernel, stride, kernel // 2, groups=groups).to(dtype)
    clip = torch.randn(frames, inputs, *[32 if dimensions < 3 else 8] * dimensions).to(dtype)
    measured, output = peak(lambda: module(clip))
    args = (clip, module.weight, module.bias, module.stride, module.padding, module.dilation, False,
            (0,) * dimensions, groups)  # fmt: skip
    extra, retained = extra_bytes(torch.ops.aten.convolution.default, args, output)
    assert retained == 0
    assert output.nbytes + extra == pytest.approx(measured, rel=0.05, abs=2048)


@pytest.mark.parametrize("straight", [True, False])
def test_a_softmax_copies_a_non_contiguous_input(straight):
    maps = torch.randn(2, 8, 16, 16).contiguous(
        memory_format=torch.contiguous_format if straight else torch.channels_last
    )
    flat = maps.flatten(2) if straight else maps.permute(0, 2, 3, 1).reshape(2, 256, 8).transpose(1, 2)
    measured, output = peak(lambda: flat.softmax(-1))
    assert output.nbytes + extra_bytes(torch.ops.aten._softmax.default, (flat, -1, False), output)[0] == measured


TRANSPOSED = [  # frames, inputs, outputs, kernel, stride, groups, number type
    (8, 3, 16, 3, 1, 1, torch.float32), (8, 3, 16, 3, 2, 1, torch.float32), (8, 16, 8, 3, 1, 1, torch.float32),
    (8, 16, 8, 3, 2, 4, torch.float32), (1, 16, 16, 4, 2, 1, torch.float32), (8, 17, 9, 3, 1, 1, torch.float32),
    (8, 16, 8, 3, 2, 1, torch.float64), (1, 3, 5, 3, 1, 1, torch.float32), (8, 4, 4, 3, 2, 1, torch.float32),
    (8, 8, 8, 4, 2, 1, torch.float32), (8, 64, 3, 2, 2, 1, torch.float32), (8, 16, 1, 2, 2, 1, torch.float32),
    (8, 256, 48, 5, 2, 1, torch.float32), (8, 256, 100, 5, 2, 1, torch.float32),
]  # fmt: skip


@pytest.mark.parametrize("case", TRANSPOSED, ids=str)
def test_a_transposed_convolutions_peak_is_predicted(case):
    frames, inputs, outputs, kernel, stride, groups, dtype = case
    module = nn.ConvTranspose2d(inputs, outputs, kernel, stride, groups=groups).to(dtype)
    clip = torch.randn(frames, inputs, 16, 16).to(dtype)
    measured, output = peak(lambda: module(clip))
    args = (clip, module.weight, module.bias, module.stride, module.padding, module.dilation, True, (0, 0), groups)
    extra, _ = extra_bytes(torch.ops.aten.convolution.default, args, output)
    assert output.nbytes + extra == pytest.approx(measured, rel=0.05)


@pytest.mark.parametrize(
    ("operator", "call"),
    [
        ("mean.dim", lambda maps: maps.bfloat16().mean((2, 3))),
        ("im2col.default", lambda maps: nn.functional.unfold(maps, 3)),
        ("upsample_nearest2d.default", lambda maps: nn.functional.interpolate(maps, scale_factor=2)),
        ("upsample_bilinear2d.default", lambda maps: nn.functional.interpolate(maps, size=(9, 7), mode="bilinear")),
        ("upsample_bilinear2d.default", lambda maps: nn.functional.interpolate(maps, size=64, mode="bilinear")),
        ("upsample_bilinear2d.default", lambda maps: nn.functional.interpolate(maps, size=65, mode="bilinear")),
        (
            "_upsample_bilinear2d_aa.default",
            lambda maps: nn.functional.interpolate(maps, size=(64, 9), mode="bilinear", antialias=True),
        ),
        (
            "_upsample_bicubic2d_aa.default",
            lambda maps: nn.functional.interpolate(maps, size=(16, 40), mode="bicubic", antialias=True),
        ),
    ],
)
def test_the_peaks_of_other_copying_operators_are_predicted(operator, call):
    maps = torch.randn(4, 8, 16, 16)
    measured, output = peak(lambda: call(maps))
    given = maps.bfloat16() if operator.startswith("mean") else maps[:, : output.shape[1]]
    name, _, overload = operator.partition(".")
    extra, _ = extra_bytes(getattr(getattr(torch.ops.aten, name), overload), (given,), output)
    before = given.nbytes if operator.startswith("mean") else 0
    assert before + output.nbytes + extra == pytest.approx(measured, rel=0.05, abs=2048)


@pytest.mark.parametrize("centres", [12, 300])
def test_the_peak_of_distances_by_matrix_products_is_predicted(centres):
    vectors, others = torch.randn(80, 64), torch.randn(centres, 64)
    measured, result = peak(lambda: torch.cdist(vectors, others))
    extra, _ = extra_bytes(torch.ops.aten._euclidean_dist.default, (vectors, others), result)
    assert result.nbytes + extra == measured


BACKWARD = [  # inputs, outputs, stride, groups, transposed
    (16, 16, 1, 1, False), (16, 16, 1, 4, False), (16, 32, 1, 2, False), (24, 12, 1, 4, False), (16, 16, 2, 4, False),
    (64, 64, 1, 4, False), (16, 16, 1, 16, False), (16, 8, 2, 1, True), (16, 8, 1, 1, True), (4, 16, 1, 4, True),
]  # fmt: skip


@pytest.mark.parametrize("of_input", [True, False])
@pytest.mark.parametrize("case", BACKWARD, ids=str)
def test_the_peak_of_a_convolutions_gradients_is_predicted(case, of_input):
    inputs, outputs, stride, groups, transposed = case
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    module = kind(inputs, outputs, 3, stride, 1, groups=groups)
    clip = torch.randn(8, inputs, 32, 32)
    gradient = torch.randn_like(module(clip)).detach()
    wanted = [of_input, True, True]
    args = (gradient, clip, module.weight.detach(), [outputs], module.stride, module.padding, module.dilation,
            transposed, (0, 0), groups, wanted)  # fmt: skip
    measured, results = peak(lambda: torch.ops.aten.convolution_backward.default(*args))
    extra, _ = extra_bytes(torch.ops.aten.convolution_backward.default, args, results)
    size = sum(result.nbytes for result in results if result is not None)
    assert size + extra == pytest.approx(measured, rel=0.05, abs=16384)


OTHER_BACKWARD = [  # dimensions, inputs, outputs, kernel, stride, dilation, groups
    (1, 16, 32, 3, 2, 2, 1), (1, 12, 16, 3, 2, 2, 1), (1, 8, 32, 5, 1, 2, 1), (1, 48, 16, 1, 2, 1, 1),
    (1, 24, 24, 5, 1, 2, 24), (2, 8, 32, 3, 2, 1, 1), (2, 12, 20, 3, 1, 1, 1), (2, 8, 4, 1, 1, 1, 2),
    (2, 32, 64, 3, 2, 1, 2), (2, 16, 16, 5, 1, 1, 16), (3, 12, 16, 3, 1, 1, 1), (3, 8, 32, 3, 2, 2, 1),
    (3, 16, 32, 3, 2, 1, 1), (3, 24, 8, 1, 1, 1, 1), (3, 16, 8, 1, 1, 1, 4), (3, 16, 16, 3, 1, 1, 16),
    (3, 24, 48, 3, 1, 1, 3),
]  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("of_input", [True, False])
@pytest.mark.parametrize("case", OTHER_BACKWARD, ids=str)
def test_the_peaks_of_all_convolutions_gradients_are_predicted(case, of_input, dtype):
    """bfloat16 has a tolerance of a tenth: the edges of oneDNN's transposed images depend on their sizes."""
    dimensions, inputs, outputs, kernel, stride, dilation, groups = case
    kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions - 1]
    module = kind(inputs, outputs, kernel, stride, kernel // 2 * dilation, dilation, groups).to(dtype)
    clip = torch.randn(4, inputs, *[(512, 32, 12)[dimensions - 1]] * dimensions).to(dtype)
    gradient = torch.randn_like(module(clip)).detach()
    args = (gradient, clip, module.weight.detach(), [outputs], module.stride, module.padding, module.dilation, False,
            (0,) * dimensions, groups, [of_input, True, True])  # fmt: skip
    measured, results = peak(lambda: torch.ops.aten.convolution_backward.default(*args))
    extra, _ = extra_bytes(torch.ops.aten.convolution_backward.default, args, results)
    returned = sum(result.nbytes for result in results if result is not None)
    leeway = 0.05 if dtype == torch.float32 else 0.1
    assert returned + extra == pytest.approx(measured, rel=leeway, abs=256)


@pytest.mark.parametrize("of_input", [True, False])
@pytest.mark.parametrize("kind", [nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d], ids=lambda kind: kind.__name__)
def test_the_gradients_of_one_images_convolution_take_its_patches(kind, of_input):
    """Small convolutions do not go to oneDNN. Their backward pass used to be predicted to need only its results."""
    module = kind(4, 8, 3, 1, 1)
    dimensions = module.weight.dim() - 2
    clip = torch.randn(1, 4, *[8] * dimensions)
    gradient = torch.randn_like(module(clip)).detach()
    args = (gradient, clip, module.weight.detach(), [8], module.stride, module.padding, module.dilation,
            module.transposed, (0,) * dimensions, 1, [of_input, True, True])  # fmt: skip
    measured, results = peak(lambda: torch.ops.aten.convolution_backward.default(*args))
    extra, _ = extra_bytes(torch.ops.aten.convolution_backward.default, args, results)
    assert sum(result.nbytes for result in results if result is not None) + extra == measured


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("of_input", [True, False])
@pytest.mark.parametrize(
    "case", [(16, 16, 1, 32), (64, 64, 1, 8), (16, 16, 16, 32), (16, 16, 4, 32), (3, 16, 1, 32)], ids=str
)
def test_the_peak_of_strided_dilated_convolutions_gradients_is_predicted(case, of_input, threads):
    inputs, outputs, groups, size = case
    torch.set_num_threads(threads)
    module = nn.Conv2d(inputs, outputs, 3, 2, 2, dilation=2, groups=groups)
    clip = torch.randn(8, inputs, size, size)
    gradient = torch.randn_like(module(clip)).detach()
    args = (gradient, clip, module.weight.detach(), [outputs], module.stride, module.padding, module.dilation, False,
            (0, 0), groups, [of_input, True, True])  # fmt: skip
    measured, results = peak(lambda: torch.ops.aten.convolution_backward.default(*args))
    extra, _ = extra_bytes(torch.ops.aten.convolution_backward.default, args, results)
    returned = sum(result.nbytes for result in results if result is not None)
    assert returned + extra == pytest.approx(measured, rel=0.01)


@pytest.mark.parametrize("gradient", [torch.randn(8, 8, 32, 32), torch.ones(()).expand(8, 8, 32, 32)])
def test_the_input_gradient_alone_takes_no_copies_for_weights(gradient):
    """A gradient that a sum has expanded is copied first."""
    module, clip = nn.Conv2d(16, 8, 3, padding=1), torch.randn(8, 16, 32, 32)
    args = (gradient, clip, module.weight.detach(), [8], (1, 1), (1, 1), (1, 1), False, (0, 0), 1,
            [True, False, False])  # fmt: skip
    measured, results = peak(lambda: torch.ops.aten.convolution_backward.default(*args))
    extra, _ = extra_bytes(torch.ops.aten.convolution_backward.default, args, (results[0], None, None))
    assert results[0].nbytes + extra == measured


@pytest.mark.parametrize("orders", [("nchw", "nchw"), ("nhwc", "nhwc"), ("nchw", "nhwc")], ids=str)
def test_the_peak_of_a_batch_norms_gradient_is_predicted(orders):
    formats = {"nchw": torch.contiguous_format, "nhwc": torch.channels_last}
    gradient, maps = (torch.randn(4, 8, 16, 16).contiguous(memory_format=formats[order]) for order in orders)
    ones = torch.ones(8)
    args = (gradient, maps, ones, ones, ones, ones, ones, True, 1e-5, [True, True, True])
    measured, results = peak(lambda: torch.ops.aten.native_batch_norm_backward.default(*args))
    extra, _ = extra_bytes(torch.ops.aten.native_batch_norm_backward.default, args, results)
    assert sum(result.nbytes for result in results) + extra == pytest.approx(measured, abs=64)


def test_a_fold_keeps_the_memory_of_its_patches():
    patches = torch.randn(2, 36, 256).transpose(1, 2).contiguous().transpose(1, 2)
    measured, image = peak(lambda: nn.functional.fold(patches, 16, 3, padding=1))
    scratch, workspace = extra_bytes(torch.ops.aten.col2im.default, (patches,), image)
    assert image.nbytes + scratch + workspace == measured


IN_NHWC = [  # frames, inputs, outputs, kernel, groups
    (1, 4, 8, 3, 1), (1, 8, 8, 3, 1), (8, 48, 32, 8, 1), (8, 16, 32, 8, 1), (1, 32, 32, 8, 32),
]  # fmt: skip


@pytest.mark.parametrize("case", IN_NHWC, ids=str)
def test_the_peak_of_a_convolution_in_nhwc_is_predicted(case):
    """Only its results used to be predicted: frame by frame, a tenth of the real peak."""
    frames, inputs, outputs, kernel, groups = case
    module = nn.Conv2d(inputs, outputs, kernel, groups=groups).to(memory_format=torch.channels_last)
    clip = torch.randn(frames, inputs, 24, 24).contiguous(memory_format=torch.channels_last)
    options = (module.stride, module.padding, module.dilation, False, (0, 0), groups)
    args = (clip, module.weight.detach(), module.bias.detach(), *options)
    measured, output = peak(lambda: module(clip))
    extra, _ = extra_bytes(torch.ops.aten.convolution.default, args, output)
    assert output.nbytes + extra == pytest.approx(measured, rel=0.1, abs=14_000)

    gradient = torch.randn(output.shape).contiguous(memory_format=torch.channels_last)
    args = (gradient, clip, module.weight.detach(), [outputs], *options, [True, True, True])
    measured, results = peak(lambda: torch.ops.aten.convolution_backward.default(*args))
    extra, _ = extra_bytes(torch.ops.aten.convolution_backward.default, args, results)
    assert sum(result.nbytes for result in results) + extra == pytest.approx(measured, rel=0.15)


NHWC_KERNELS = [  # inputs, outputs, kernel, stride, padding, groups, transposed, number type
    (16, 4, 1, 1, 0, 1, False, torch.bfloat16), (48, 32, 3, 1, 1, 1, False, torch.float32),
    (24, 20, 3, 2, 1, 1, False, torch.float32), (24, 20, 3, 2, 1, 1, False, torch.bfloat16),
    (24, 20, 1, 2, 0, 1, False, torch.bfloat16), (32, 32, 3, 1, 1, 4, False, torch.float32),
    (16, 16, 3, 1, 1, 16, False, torch.bfloat16), (64, 64, 5, 1, 2, 64, False, torch.float32),
    (1, 8, 3, 1, 1, 1, False, torch.float32), (4, 8, 3, 1, 0, 1, False, torch.bfloat16),
    (16, 8, 2, 2, 0, 1, True, torch.float32), (24, 8, 3, 2, 0, 1, True, torch.float32),
    (16, 8, 2, 2, 0, 4, True, torch.float32), (16, 16, 3, 1, 0, 2, True, torch.float32),
]  # fmt: skip


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("case", NHWC_KERNELS, ids=str)
def test_the_scratchpads_of_kernels_in_nhwc_are_predicted(case, threads):
    """Only the weights in blocks used to be predicted, without scratchpads and the copies of gradients."""
    torch.set_num_threads(threads)
    inputs, outputs, kernel, stride, padding, groups, transposed, dtype = case
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    module = kind(inputs, outputs, kernel, stride, padding, groups=groups).to(dtype)
    module = module.to(memory_format=torch.channels_last)
    clip = torch.randn(8, inputs, 24, 24).to(dtype).contiguous(memory_format=torch.channels_last)
    options = (module.stride, module.padding, module.dilation, transposed, (0, 0), groups)
    args = (clip, module.weight.detach(), module.bias.detach(), *options)
    measured, output = peak(lambda: torch.ops.aten.convolution.default(*args))
    extra, _ = extra_bytes(torch.ops.aten.convolution.default, args, output)
    assert output.nbytes + extra == pytest.approx(measured, rel=0.01)

    gradient = torch.randn_like(output)
    for of_input in (True, False):
        args = (gradient, clip, module.weight.detach(), [outputs], *options, [of_input, True, True])
        measured, results = peak(lambda args=args: torch.ops.aten.convolution_backward.default(*args))
        extra, _ = extra_bytes(torch.ops.aten.convolution_backward.default, args, results)
        returned = sum(result.nbytes for result in results if result is not None)
        assert returned + extra == pytest.approx(measured, rel=0.02, abs=512)


@pytest.mark.parametrize("orders", [(False, True), (True, False)], ids=["weights in NHWC", "frames in NHWC"])
def test_weights_or_frames_alone_decide_the_memory_order(orders):
    """Weights in NHWC order did not count, so that a model's frames in the other order were predicted in blocks."""
    clip, weight = torch.randn(8, 16, 24, 24), torch.randn(8, 16, 3, 3)
    clip, weight = (
        tensor.contiguous(memory_format=torch.channels_last) if is_nhwc else tensor
        for tensor, is_nhwc in zip((clip, weight), orders, strict=True)
    )
    args = (clip, weight, None, (1, 1), (1, 1), (1, 1), False, (0, 0), 1)
    measured, output = peak(lambda: torch.ops.aten.convolution.default(*args))
    extra, _ = extra_bytes(torch.ops.aten.convolution.default, args, output)
    assert output.nbytes + extra == measured
