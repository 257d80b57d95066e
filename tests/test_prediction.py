"""Test predicted against measured peak memory, and the search for the largest size that fits."""

from __future__ import annotations

import io
import logging
import math
import re
from dataclasses import replace
from itertools import accumulate

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional

from convbench.core.errors import CaseFailed, Impossible
from convbench.core.record import Case, Choice, Clip, Features, Parts, Recurrent, Whole
from convbench.measure.comparison import first_call
from convbench.measure.counts.counted import count_case, on_meta_or_reason
from convbench.measure.memory import allocations, largest
from convbench.measure.memory.allocations import sizes_of
from convbench.measure.memory.cpu_operators import Layer
from convbench.measure.memory.peak import Peak, TakesTooLong
from convbench.measure.memory.prediction import Prediction, optimizer_bytes, predict
from convbench.measure.preflight import resolve
from convbench.models.network import vector_size

ARTICLE = [("gap", None), ("fc", 128), ("hybrid", 64), ("flatten", None)]
SMALL = Clip(2, 4, 3, 32, 32)


def case(
    reducer="gap", size=None, *variant: Choice, scenario="inference", clip=SMALL, backbone="conv", **parts
) -> Case:
    return Case(Parts(Choice(backbone), Choice(reducer), size, **parts), clip, variant, scenario)


def measured(of: Case) -> int:
    subject, _ = first_call.open_case(of, seed=0)
    subject.run()
    return allocations.timeline_of(subject).peak


@pytest.mark.parametrize("rule", [torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD])
@pytest.mark.parametrize("options", [{}, {"fused": True}, {"foreach": True}, {"foreach": False}], ids=str)
def test_an_optimizers_state_and_the_memory_of_its_step_are_predicted(rule, options):
    parameters = [torch.nn.Parameter(torch.ones(length)) for length in (1000, 3000, 2000, 500)]
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer = rule(parameters, lr=1e-4, **options)
    optimizer.step()
    state = sum(
        tensor.nbytes for values in optimizer.state.values() for tensor in values.values() if tensor is not None
    )
    step = max(accumulate(sizes_of(optimizer.step)), default=0)
    assert optimizer_bytes(optimizer, parameters) == (state, pytest.approx(step, abs=64))


@pytest.mark.parametrize(("scenario", "tolerance"), [("inference", 0.05), ("train", 0.10)])
@pytest.mark.parametrize(("reducer", "size"), ARTICLE)
def test_the_articles_peaks_are_predicted(reducer, size, scenario, tolerance):
    of = case(reducer, size, scenario=scenario, clip=Clip())
    assert predict(of).peak == pytest.approx(measured(of), rel=tolerance)


CASES = {
    "vgg": case("spatial-softmax", backbone="vgg", rnn=Recurrent(hidden=200, layers=2)),
    "strided, two ways": case("gdconv", backbone="strided", rnn=Recurrent(hidden=64, bidirectional=True)),
    "gru": case("gem", backbone="strided", rnn=Recurrent("gru", 64)),
    "projection": case("conv1x1-avg-k", 16, rnn=Recurrent(hidden=64, proj_size=16)),
    "attention": case("attention", rnn=Recurrent(hidden=32), head=7),
    "channels_last": case("flatten", None, Choice("channels_last")),
    "autocast": case("fc", 100, Choice("autocast")),
    "lazy": case("field:lazy_reducer", 64),
    "train lazy": case("field:lazy_reducer", 64, scenario="train"),
    "streaming": case("random-projection", 50, scenario="streaming"),
    "long clip": case("gap", clip=Clip(1, 100, 3, 8, 8), rnn=Recurrent(hidden=300)),
    "train vgg": case("gmp", backbone="vgg", scenario="train"),
    "train strided": case("fc", 200, backbone="strided", scenario="train", rnn=Recurrent(hidden=72, layers=2)),
    "train fused": case("fc", 200, Choice("optimizer"), scenario="train"),
    "train foreach": case("fc", 200, Choice("optimizer", (("implementation", "foreach"),)), scenario="train"),
    "train sgd": case("fc", 200, Choice("optimizer", (("rule", "sgd"),)), scenario="train"),
    "train checkpoint": case("gap", None, Choice("checkpoint"), scenario="train"),
}


@pytest.mark.parametrize("of", CASES.values(), ids=CASES)
def test_other_models_and_variants_are_predicted_within_a_tenth(of):
    assert predict(of).peak == pytest.approx(measured(of), rel=0.10)


def squared_twice(maps):
    products = maps.flatten(1) @ torch.ones(256, 256)
    return products * products + products


STEPS = {
    "a tensor that is used twice": squared_twice,
    "slices that are used one by one": lambda maps: sum(torch.tanh(part.flatten(1)) for part in maps.split(2, 1)),
    "maxima of NHWC maps": lambda maps: functional.max_pool2d(
        maps.contiguous(memory_format=torch.channels_last), 2
    ).mean((2, 3)),
    "means of NHWC maps": lambda maps: functional.avg_pool2d(
        maps.contiguous(memory_format=torch.channels_last), 2
    ).flatten(1),
    "absolute values of complex numbers": lambda maps: torch.view_as_complex(maps.unflatten(-1, (-1, 2))).abs(),
    "a mean square error": lambda maps: functional.mse_loss(maps, maps.detach()),
    "a smooth error": lambda maps: functional.smooth_l1_loss(maps, maps.detach()),
    "a tangent of a linear layer": lambda maps: torch.func.jvp(
        lambda rows: functional.linear(rows, torch.ones(64, 256)), (maps.flatten(1),), (maps.flatten(1),)
    )[1],
    "an entropy of logits": lambda maps: functional.binary_cross_entropy_with_logits(maps, maps.detach()),
}


@pytest.mark.parametrize("is_trained", [False, True])
@pytest.mark.parametrize("computed", STEPS.values(), ids=STEPS)
def test_the_peak_of_a_step_is_predicted(computed, is_trained):
    """The prediction used to be off by half to three of the tensors that the step works on."""

    def step(maps):
        output = computed(maps.detach().requires_grad_(is_trained))
        if is_trained:
            output.sum().backward()

    maps = torch.randn(16, 4, 8, 8)
    step(maps)
    changes = sizes_of(lambda: step(maps))
    with FakeTensorMode() as fakes:
        predicted, fake = Peak(torch.device("cpu")), fakes.from_tensor(maps)
        with predicted.follow():
            step(fake)
    assert predicted.bytes == pytest.approx(max(accumulate(changes)), abs=256)


LAYERS: list[dict[str, object]] = [
    {},
    {"cell": "gru", "batch_first": False, "how": "numpy"},
    {"cell": "rnn", "how": "deepcopy"},
    {"num_layers": 2, "bidirectional": True, "proj_size": 50},
    {"drawn": True},
    {"how": "reversed"},
]


@pytest.mark.parametrize("scenario", ["inference", "train"])
@pytest.mark.parametrize("options", LAYERS, ids=str)
def test_packed_sequences_are_predicted_by_their_lengths(options, scenario):
    """They used to be refused, because torch reads their lengths. Lengths that the model draws count as the padding.

    Models that copied their lengths or made an array of them were refused.
    """
    of = Case(Whole(Choice("field:Shortened", tuple(options.items()))), Clip(6, 12, 3, 10, 10), scenario=scenario)
    assert predict(of).peak == pytest.approx(measured(of), rel=0.01)
    assert predict(of).at_full_length == ("drawn" in options)


def test_lengths_in_a_drawn_order_count_as_the_padding():
    """They were taken from unwritten memory, and torch refused to allocate so much."""
    of = Case(Whole(Choice("field:Shortened", (("how", "shuffled"),))), Clip(6, 12, 3, 10, 10))
    assert predict(of).at_full_length


@pytest.mark.parametrize("how", ["mask", "unpacked", "last"])
def test_outputs_cut_to_known_lengths_are_predicted(how):
    """They were refused, and ``last`` took a place from unwritten memory."""
    of = Case(Whole(Choice("field:Trimmed", (("how", how),))), Clip(3, 8, 3, 32, 32))
    assert predict(of).peak == measured(of)


TINY = Clip(1, 4, 1, 16, 16)
CLOSE = {
    "autocast of what an LSTM is made of": case("flatten", None, Choice("autocast"), clip=TINY),
    "autocast of what a GRU is made of": case("flatten", None, Choice("autocast"), clip=TINY, rnn=Recurrent("gru", 64)),
    "autocast frame by frame": case("flatten", None, Choice("autocast"), scenario="streaming", clip=TINY),
    "gradients of an LSTM in bfloat16": case(
        "flatten", None, Choice("autocast"), scenario="train", clip=Clip(1, 8, 3, 64, 64), backbone="strided"
    ),
    "Adam on weights of one size": case("fc", 128, scenario="train", clip=TINY, backbone="strided"),
}


@pytest.mark.parametrize("of", CLOSE.values(), ids=CLOSE)
def test_casts_and_adams_state_are_predicted_closely(of):
    assert predict(of).peak == pytest.approx(measured(of), rel=0.03)


@pytest.mark.parametrize(
    "how", ["weighed", "weights", "weights of heads", "layer", "norm first", "wide", "padded", "causal"]
)
def test_fused_self_attention_is_predicted_with_its_scores(how):
    of = Case(Whole(Choice("field:Attends", (("how", how),))), Clip(2, 40, 3, 8, 8))
    assert predict(of).peak == measured(of)


@pytest.mark.filterwarnings("error:Accessing the data pointer of FakeTensor")
@pytest.mark.parametrize("scenario", ["inference", "train"])
def test_attention_of_a_masked_encoder_is_predicted(scenario):
    """It had no prediction: torch compares the mask's values with those of a causal mask."""
    of = Case(Whole(Choice("field:Attends", (("how", "masked"),))), Clip(2, 40, 3, 8, 8), scenario=scenario)
    assert not isinstance(on_meta_or_reason(of.eager, 0), str)
    assert predict(of).peak == pytest.approx(measured(of), rel=0.02)


def test_an_encoder_that_packs_padded_clips_is_predicted_at_full_length():
    """It was predicted with gradients, 43 to 109 % too high, then without its packed copies, up to 11 % too low."""
    nested, unchecked = (
        Case(Whole(Choice("field:Attends", (("how", how),))), Clip(2, 40, 3, 8, 8))
        for how in ("nested", "nested unchecked")
    )
    prediction = predict(nested)
    assert prediction.peak == pytest.approx(measured(nested), rel=0.05) and prediction.at_full_length
    with pytest.raises(CaseFailed, match="not predicted: shapes do not tell the bytes of its nested tensors"):
        predict(unchecked)


@pytest.mark.parametrize(
    ("scenario", "how"),
    [
        *(("inference", how) for how in ("dropout", "projection", "masked", "where", "logsumexp", "view of a weight")),
        *(("train", how) for how in ("silu", "mish", "gather", "attention")),
    ],
)
def test_an_operator_is_predicted_by_its_kernel_not_its_decomposition(scenario, how):
    of = Case(Whole(Choice("field:Computes", (("how", how),))), Clip(2, 60, 3, 8, 8), scenario=scenario)
    assert predict(of).peak == pytest.approx(measured(of), rel=0.02)


@pytest.mark.parametrize("scenario", ["inference", "train"])
def test_an_agent_that_samples_a_distribution_is_predicted(scenario, monkeypatch):
    """It used to have no prediction and was counted on its device, although only its validation reads values."""
    monkeypatch.setattr(
        torch.distributions.Distribution, "_validate_args", True
    )  # the compiler disables it in a process
    of = Case(Whole(Choice("field:Acts")), Clip(2, 8, 3, 32, 32), scenario=scenario)
    assert not isinstance(on_meta_or_reason(of.eager, 0), str)
    assert predict(of).peak == pytest.approx(measured(of), rel=0.05)
    with pytest.raises(ValueError, match="invalid values"):
        torch.distributions.Categorical(logits=torch.tensor([math.nan]))


def test_leftovers_of_a_refused_inference_mode_call_are_not_predicted():
    of = Case(Whole(Choice("field:Works", (("how", "gradient of maps"),))), Clip(2, 8, 3, 32, 32))
    assert predict(of).peak == pytest.approx(measured(of), rel=0.01)


def test_training_a_recurrent_layer_in_evaluation_mode_takes_a_workspace():
    of = Case(Whole(Choice("field:Evaluated", (("hidden", 64),))), Clip(2, 40, 3, 8, 8), scenario="train")
    assert predict(of).peak == pytest.approx(measured(of), rel=0.05)


def test_training_on_a_last_state_takes_zeros_for_the_outputs():
    """The zeros that torch passes as the outputs' gradient were missing, 4 % of the peak."""
    of = Case(Whole(Choice("field:LastState")), Clip(12, 40, 1, 8, 8), scenario="train")
    assert predict(of).peak == pytest.approx(measured(of), rel=0.01)


def test_a_compiled_models_peak_is_refused():
    with pytest.raises(CaseFailed, match="compiled model cannot be predicted"):
        predict(case("gap", None, Choice("compile")))


def test_an_lstm_layers_workspace_is_laid_out_like_onednns():
    """16 steps, 32 inputs, 128 hidden: 3 buffers of states, 2 of hidden states, gates and outputs, in whole pages."""
    layer = Layer((16, 1), 32, 128, 4)
    states = 5 * 4096
    assert layer.states() == states
    assert layer.workspace() == 3 * states + 2 * states + 9 * 4096 + 2 * 4096 == 147_456
    assert layer.transposed_weights() == (32 + 128) * (512 + 16) * 4
    assert [layer.row(length) for length in (1, 16, 17, 128, 256, 131_072)] == [16, 16, 32, 128, 272, 131_088]


@given(
    slope=st.integers(1, 10**7),
    base=st.integers(0, 10**9),
    steps=st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 10**6)), max_size=3),
    limit=st.integers(1, 10**10),
)
def test_the_search_finds_the_largest_size_that_fits(slope, base, steps, limit):
    def peak(size):
        return base + slope * size + sum(more * max(0, size - start) for start, more in steps)

    size = largest.search(peak, limit, 10_000)
    assert 0 <= size <= 10_000
    assert size == 0 or peak(size) <= limit
    assert size == 10_000 or peak(size + 1) > limit


def test_the_search_needs_few_predictions_for_a_linear_peak():
    sizes = []

    def peak(size):
        sizes.append(size)
        return 10**6 + 1234 * size

    assert largest.search(peak, 10**9, 2**20) == (10**9 - 10**6) // 1234
    assert len(sizes) < 30


def test_the_largest_size_that_fits_is_found_for_each_axis():
    of = resolve(case("fc", 64))
    limit = 50_000_000
    fits = {fit.axis: fit for fit in largest.fits(of, limit)}
    assert set(fits) == {"batch", "frames", "lstm_input"}
    for axis, fit in fits.items():
        assert fit.peak <= limit < predict(largest.of_size(of, axis, fit.size + 1)).peak


def test_a_search_ends_if_a_prediction_takes_too_long(monkeypatch):
    def limited(case, seconds=math.inf):
        if case.clip.frames > 40 and seconds < math.inf:
            raise TakesTooLong("error", "not predicted: it takes too long")
        return predict(case)

    monkeypatch.setattr(largest, "predict", limited)
    fits = {fit.axis: fit for fit in largest.fits(resolve(case("gap", clip=Clip(1, 4, 3, 8, 8))), 10**9)}
    assert (fits["frames"].size, fits["frames"].has_more) == (32, True)
    assert fits["frames"].peak == predict(resolve(case("gap", clip=Clip(1, 32, 3, 8, 8)))).peak
    long = {fit.axis: fit for fit in largest.fits(resolve(case("gap", clip=Clip(1, 64, 3, 8, 8))), 10**9)}
    assert long["batch"].reason == "not predicted: it takes too long, with batch=1"
    assert (long["frames"].size, long["frames"].reason) == (32, "")


def test_a_size_that_cannot_be_predicted_is_the_reason_and_no_limit(monkeypatch):
    def failing(case, seconds=math.inf):
        if case.clip.batch > SMALL.batch:
            raise CaseFailed("error", "not predicted: odd")
        return Prediction(resident=100, forward_backward=10, optimizer=0)

    monkeypatch.setattr(largest, "predict", failing)
    batch, frames = largest.fits(resolve(case("gap")), 10**9)
    assert (batch.size, batch.has_more, batch.reason) == (0, False, "not predicted: odd, with batch=4")
    assert (frames.size, frames.has_more, frames.is_flat) == (2**16, True, True)


class OneLength(torch.nn.Linear):
    """Reads clips of four frames, as models do that fix their sequence length when they are built."""

    def __init__(self):
        super().__init__(192, 2)

    def forward(self, clip):
        return super().forward(clip.flatten(2).view(-1, 4, 192))


def test_a_length_that_the_model_does_not_take_is_named_with_the_line():
    of = Case(Whole(Choice(f"{__name__}:OneLength")), Clip(1, 4, 3, 8, 8))
    batch, frames = largest.fits(of, 10**7)
    assert batch.size > 1 and not batch.reason
    assert re.search(r"invalid for input of size 192 \(test_prediction.py:\d+\), with frames=1$", frames.reason)


def test_an_axis_that_the_inputs_ignore_is_flat():
    fits = largest.fits(Case(Whole(Choice("field:Base"), "field:fixed"), SMALL), 10**9)
    assert [(fit.axis, fit.is_flat) for fit in fits] == [("batch", True), ("frames", True)]


def test_only_free_axes_are_searched():
    assert largest.axes(resolve(case("gap"))) == ["batch", "frames"]
    assert largest.axes(resolve(case("gap", scenario="streaming"))) == ["batch"]
    assert largest.axes(resolve(case("hybrid", 8))) == ["batch", "frames", "lstm_input"]


def test_sizes_that_fit_are_predicted_for_the_threads_of_the_case(monkeypatch):
    """Kernels have workspaces for each thread. They were predicted for the threads of the command."""
    monkeypatch.setattr(largest, "peak_of", lambda *_: torch.get_num_threads())
    peaks = [largest.peak_and_fits(replace(case("gap"), threads=threads), 0)[0] for threads in (None, 3)]
    assert peaks == [1, 3]


def test_no_size_fits_into_a_tiny_limit():
    assert {fit.size for fit in largest.fits(resolve(case("fc", 64)), 1000)} == {0}


def test_a_long_clip_of_a_gru_is_extrapolated(monkeypatch):
    monkeypatch.setattr(largest, "LONG_CLIP", 32)
    of = resolve(case("gap", rnn=Recurrent("gru", 16), clip=Clip(1, 40, 3, 8, 8), scenario="train"))
    assert largest.peak_of(of) == pytest.approx(predict(of).peak, rel=0.001)


SCRIPT = io.BytesIO()


def loaded():
    return torch.jit.load(io.BytesIO(SCRIPT.getvalue()))


def packed_input(clip):
    return torch.nn.utils.rnn.pack_padded_sequence(torch.randn(7, 3, 4), torch.tensor([7, 4, 1]))


class Recurs(torch.nn.GRU):
    def __init__(self) -> None:
        super().__init__(4, 6)


class LazyReader(torch.nn.Module):
    """Its lazy layer takes its size in a first call on ``meta``, where it has no values to read."""

    def __init__(self) -> None:
        super().__init__()
        self.out = torch.nn.LazyLinear(5)

    def forward(self, clip):
        output = self.out(clip.mean((3, 4)))
        return output / output.sum().item()


class ReadsWhileBuilt(torch.nn.Linear):
    def __init__(self) -> None:
        super().__init__(16, 2)
        self.size = self.weight.sum().item()


def test_inputs_that_are_packed_are_predicted_by_their_lengths():
    of = Case(Whole(Choice(f"{__name__}:Recurs"), f"{__name__}:packed_input"), TINY)
    assert predict(of).peak == measured(of)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("LazyReader", "its lazy layers take their sizes from a call without values, which raises .*item"),
        ("ReadsWhileBuilt", "the code that builds it reads the values of tensors"),
    ],
)
def test_a_model_that_cannot_be_predicted_says_where_values_are_read(model, reason):
    with pytest.raises(CaseFailed, match=f"not predicted: {reason}"):
        predict(Case(Whole(Choice(f"{__name__}:{model}")), TINY))


def test_an_unpredictable_model_is_refused_without_a_traceback(monkeypatch):
    """Torch used to print a traceback to the terminal of a user who measured a loaded script in their own process."""
    torch.jit.save(torch.jit.script(torch.nn.Linear(16, 2)), SCRIPT)
    printed = io.StringIO()
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    monkeypatch.setattr(logger, "handlers", [*logger.handlers, logging.StreamHandler(printed)])
    with pytest.raises(CaseFailed, match="not predicted"):
        predict(Case(Whole(Choice(f"{__name__}:loaded")), Clip(1, 2, 1, 16, 16)))
    assert not printed.getvalue()


ADDRESSES: list[int] = []


class GivesItsAddress(torch.nn.Module):
    """Hands an address to code that is not torch's, as models with an extension do."""

    def __init__(self) -> None:
        super().__init__()
        layer = torch.nn.TransformerEncoderLayer(16, 2, 16, batch_first=True)
        self.encoder = torch.nn.TransformerEncoder(layer, 2)  # torch copies the layer, and looks at its addresses

    def forward(self, clip):
        vectors = self.encoder(clip.mean((3, 4)))
        ADDRESSES.extend(tensor.data_ptr() for tensor in (vectors, clip, self.encoder.layers[0].linear1.weight))
        return vectors


def test_an_extension_gets_no_null_address():
    """It wrote there: the whole case failed with "killed by SIGSEGV", although the model runs."""
    of = Case(Whole(Choice(f"{__name__}:GivesItsAddress")), Clip(1, 2, 16, 4, 4))
    ADDRESSES.clear()
    assert count_case(of, 0).total
    assert ADDRESSES
    assert all(ADDRESSES)
    with pytest.raises(CaseFailed, match=r"reads the values of tensors \(.*an extension\)"):
        predict(of)
    assert all(ADDRESSES)
    with pytest.raises(Impossible, match=r"has a shape but no values: register .*test_prediction\.py"):
        vector_size(Choice(f"{__name__}:reduces_by_address"), Features(16, 2, 2), None)


def reduces_by_address(features, lstm_input):
    return type("Reducer", (torch.nn.Module,), {"forward": lambda _, maps: ADDRESSES.append(maps.data_ptr())})()


def test_a_prediction_that_takes_too_long_is_refused():
    with pytest.raises(CaseFailed, match="not predicted: it takes too long"):
        predict(Case(Parts(Choice("conv"), Choice("gap")), Clip(1, 2, 1, 8, 8)), 0.0)


@pytest.mark.parametrize("method", ["dynamic", "static"])
def test_a_variant_that_reads_values_is_the_reason_for_a_missing_prediction(method):
    """The reason used to be the model's own forward, which reads none."""
    with pytest.raises(CaseFailed, match="not predicted: its variant reads the values of weights or clips"):
        predict(case("gap", None, Choice("int8", (("method", method),))))
