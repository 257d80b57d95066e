// A simulated GPU for a torch without CUDA: tensors on "cuda" have memory of their own, on which the CPU computes.
//
// What it shares with a GPU: devices that must not be mixed, an allocator whose changes torch's profiler sees, kernels
// that only CUDA has (the fused LSTM and GRU cells), and autograd's threads per device. It misbehaves like one, too:
// CONVBENCH_PAPER_BYTES is its memory, CONVBENCH_PAPER_LOST the number of operators after which it is lost, and
// CONVBENCH_PAPER_LOCK a file that lets one process in (the exclusive compute mode). rehearse.py builds it.

#include <ATen/ATen.h>
#include <ATen/EmptyTensor.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/native/Resize.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <mutex>
#include <unordered_map>

namespace {

constexpr int DEVICES = 2;
constexpr int64_t BLOCK = 512, SEGMENT = 2 << 20;
thread_local c10::DeviceIndex current = 0;
std::atomic<bool> is_hidden{false};  // memory of a replayed CUDA graph, of which the allocator hears nothing

c10::Device on(c10::DeviceIndex index) { return {c10::kCUDA, index}; }

int64_t number_from(const char* name, int64_t other) {
  const char* text = std::getenv(name);
  return text ? std::atoll(text) : other;
}

// --- Faults: a context that another process keeps out, and a device that is lost for the rest of the process -----------

void fail(int32_t code, const char* message) {
  throw c10::AcceleratorError({__func__, __FILE__, __LINE__}, code, message);
}

void open_context() {
  static const char* path = std::getenv("CONVBENCH_PAPER_LOCK");
  static bool is_open = !path || !flock(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600), LOCK_EX | LOCK_NB);
  if (!is_open) fail(46, "CUDA error: CUDA-capable device(s) is/are busy or unavailable");
}

void work() {
  static const int64_t last = number_from("CONVBENCH_PAPER_LOST", -1);
  static std::atomic<int64_t> operators{0};
  if (last >= 0 && operators++ >= last) fail(700, "CUDA error: an illegal memory access was encountered");
}

// --- Memory: blocks of 512 B, counted and reported to the profiler like those of CUDA's allocator -----------------------

struct Block {
  int64_t bytes;
  c10::DeviceIndex device;
};
auto& mutex = *new std::mutex;  // never destroyed: torch's threads free tensors while the process ends
auto& blocks = *new std::unordered_map<void*, Block>;
int64_t allocated = 0, peak = 0, reserved = 0, reserved_peak = 0;

int64_t in_segments(int64_t bytes) { return (bytes + SEGMENT - 1) / SEGMENT * SEGMENT; }

void count(void* pointer, int64_t bytes, c10::DeviceIndex device) {
  {
    std::lock_guard<std::mutex> guard(mutex);
    allocated += bytes;
    reserved = std::max(reserved, in_segments(allocated));
    peak = std::max(peak, allocated);
    reserved_peak = std::max(reserved_peak, reserved);
    if (bytes > 0) blocks[pointer] = {bytes, device};
    else blocks.erase(pointer);
  }
  c10::reportMemoryUsageToProfiler(pointer, bytes, allocated, reserved, on(device));
}

void remember(void* pointer, Block block) {
  std::lock_guard<std::mutex> guard(mutex);
  blocks[pointer] = block;
}

void release(void* pointer) {
  if (!pointer) return;
  Block block;
  {
    std::lock_guard<std::mutex> guard(mutex);
    block = blocks.at(pointer);
  }
  if (block.bytes) count(pointer, -block.bytes, block.device);
  std::free(pointer);
}

struct Memory final : c10::Allocator {
  c10::DataPtr allocate(size_t size) override {
    open_context();
    if (!size) return {nullptr, nullptr, &release, on(current)};
    int64_t bytes = (int64_t(size) + BLOCK - 1) / BLOCK * BLOCK;
    static const int64_t capacity = number_from("CONVBENCH_PAPER_BYTES", int64_t(8) << 30);
    void* pointer = nullptr;
    bool is_full = allocated + bytes > capacity || posix_memalign(&pointer, BLOCK, bytes);
    TORCH_CHECK_WITH(OutOfMemoryError, !is_full, "CUDA out of memory. Tried to allocate ", bytes, " bytes. GPU ",
                     int(current), " has a total capacity of ", capacity, " bytes of which ", capacity - allocated,
                     " are free.");
    if (is_hidden) remember(pointer, {0, current});
    else count(pointer, bytes, current);
    return {pointer, pointer, &release, on(current)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t size) const override { default_copy_data(to, from, size); }
};
auto& memory = *new Memory;

int64_t bytes(int64_t which) {
  std::lock_guard<std::mutex> guard(mutex);
  return std::array<int64_t, 4>{allocated, peak, reserved, reserved_peak}.at(which);
}

void give_back() {  // cached memory that no tensor uses
  std::lock_guard<std::mutex> guard(mutex);
  reserved = in_segments(allocated);
}

void reset() {
  std::lock_guard<std::mutex> guard(mutex);
  peak = allocated;
  reserved_peak = reserved;
}

// --- The devices, their streams (which have always finished) and what torch asks of CUDA --------------------------------

struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return c10::kCUDA; }
  c10::Device exchangeDevice(c10::Device device) const override {
    auto previous = on(current);
    setDevice(device);
    return previous;
  }
  c10::Device getDevice() const override { return on(current); }
  void setDevice(c10::Device device) const override {
    TORCH_CHECK(device.is_cuda() && device.index() < DEVICES, "CUDA error: invalid device ordinal");
    uncheckedSetDevice(device);
  }
  void uncheckedSetDevice(c10::Device device) const noexcept override {
    if (device.index() >= 0) current = device.index();
  }
  c10::Stream getStream(c10::Device device) const override { return c10::Stream(c10::Stream::DEFAULT, device); }
  c10::Stream getDefaultStream(c10::Device device) const override { return getStream(device); }
  c10::Stream getStreamFromGlobalPool(c10::Device device, bool) const override { return getStream(device); }
  c10::Stream exchangeStream(c10::Stream stream) const override { return stream; }
  c10::DeviceIndex deviceCount() const noexcept override { return DEVICES; }
  void record(void**, const c10::Stream&, const c10::DeviceIndex, const c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void destroyEvent(void*, const c10::DeviceIndex) const noexcept override {}
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream&) const override {}
  void recordDataPtrOnStream(const c10::DataPtr&, const c10::Stream&) const override {}
};
C10_REGISTER_GUARD_IMPL(CUDA, Guard);

int64_t exchange(int64_t index) {
  return index < 0 ? current : Guard().exchangeDevice(on(c10::DeviceIndex(index))).index();
}

struct CUDAHooks final : at::CUDAHooksInterface {  // torch looks for it by this name
  explicit CUDAHooks(at::CUDAHooksArgs) {}
  bool hasCUDA() const override { return true; }
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  void init() const override {}
  int getNumGPUs() const override { return DEVICES; }
  c10::DeviceIndex deviceCount() const override { return DEVICES; }
  c10::DeviceIndex current_device() const override { return current; }
  c10::DeviceIndex getCurrentDevice() const override { return current; }
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex index) const override { return exchange(index); }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex index) const override { return exchange(index); }
  void deviceSynchronize(c10::DeviceIndex) const override {}
};

struct Installation {
  Installation() { c10::SetAllocator(c10::kCUDA, &memory, 1); }
} installation;

// --- Operators: the CPU's, on copies, apart from those that make, view or copy tensors ----------------------------------

using Type = std::optional<at::ScalarType>;
using Layout = std::optional<at::Layout>;
using Place = std::optional<at::Device>;
using Pinned = std::optional<bool>;
using Format = std::optional<at::MemoryFormat>;
using Bias = std::optional<at::Tensor>;
constexpr c10::DispatchKeySet KEYS(c10::DispatchKey::CUDA);

at::ScalarType type_of(Type type) { return type.value_or(c10::get_default_dtype_as_scalartype()); }

at::Tensor empty(c10::IntArrayRef size, Type type, Layout, Place place, Pinned, Format format) {
  c10::DeviceGuard guard(place.value_or(on(current)));
  return at::detail::empty_generic(size, &memory, KEYS, type_of(type), format);
}

at::Tensor empty_strided(c10::IntArrayRef size, c10::IntArrayRef stride, Type type, Layout, Place place, Pinned) {
  c10::DeviceGuard guard(place.value_or(on(current)));
  return at::detail::empty_strided_generic(size, stride, &memory, KEYS, type_of(type));
}

at::Tensor on_host(const at::Tensor& tensor) {  // the same memory, seen as the CPU's
  if (!tensor.is_cuda()) return tensor;
  auto length = int64_t(tensor.storage().nbytes() / tensor.itemsize());
  auto options = tensor.options().device(c10::kCPU).requires_grad(false);
  auto numbers = at::from_blob(tensor.storage().mutable_data(), {length}, options);
  auto host = at::native::as_strided_tensorimpl(numbers, tensor.sizes(), tensor.strides(), tensor.storage_offset());
  host._set_conj(tensor.is_conj());
  host._set_neg(tensor.is_neg());
  return host;
}

at::Tensor& copy(at::Tensor& self, const at::Tensor& source, bool) {
  on_host(self).copy_(on_host(source));
  return self;
}

at::Tensor copy_from(const at::Tensor& self, const at::Tensor& target, bool) {
  on_host(target).copy_(on_host(self));
  return target;
}

at::Tensor copy_from_and_resize(const at::Tensor& self, const at::Tensor& target) {
  if (target.sizes() != self.sizes()) target.resize_(self.sizes());
  return copy_from(self, target, false);
}

const at::Tensor& resize(const at::Tensor& self, c10::SymIntArrayRef sizes, Format format) {
  auto size = C10_AS_INTARRAYREF_SLOW(sizes);
  auto bytes = (c10::multiply_integers(size) + self.storage_offset()) * self.itemsize();
  auto* storage = self.storage().unsafeGetStorageImpl();
  if (int64_t(storage->nbytes()) < bytes) {
    c10::DeviceGuard guard(self.device());
    auto larger = memory.allocate(bytes);
    if (storage->nbytes()) std::memcpy(larger.get(), storage->data(), storage->nbytes());
    storage->set_data_ptr_noswap(std::move(larger));
    storage->set_nbytes(bytes);
  }
  self.unsafeGetTensorImpl()->set_sizes_contiguous(size);
  if (format && *format != at::MemoryFormat::Preserve) self.unsafeGetTensorImpl()->empty_tensor_restride(*format);
  return self;
}

at::Tensor& set(at::Tensor& self, at::Storage source, int64_t offset, c10::IntArrayRef size, c10::IntArrayRef stride) {
  auto* impl = self.unsafeGetTensorImpl();
  auto contiguous = at::detail::defaultStrides(size);
  impl->set_storage_keep_dtype(std::move(source));
  impl->set_sizes_and_strides(size, stride.empty() ? c10::IntArrayRef(contiguous) : stride);
  impl->set_storage_offset(offset);
  return self;
}

at::Scalar number(const at::Tensor& self) { return on_host(self).item(); }

at::Tensor plus(const at::Tensor& gates, const Bias& bias) {
  return bias && bias->defined() ? gates + *bias : gates;
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> lstm_cell(
    const at::Tensor& inputs, const at::Tensor& hidden, const at::Tensor& cell, const Bias& inner, const Bias& outer) {
  auto gates = plus(plus(inputs + hidden, inner), outer).chunk(4, 1);
  auto next = gates[1].sigmoid() * cell + gates[0].sigmoid() * gates[2].tanh();
  return {gates[3].sigmoid() * next.tanh(), next, at::empty({0}, inputs.options())};
}

std::tuple<at::Tensor, at::Tensor> gru_cell(
    const at::Tensor& inputs, const at::Tensor& hidden, const at::Tensor& state, const Bias& inner, const Bias& outer) {
  auto in = plus(inputs, inner).chunk(3, 1), out = plus(hidden, outer).chunk(3, 1);
  auto fresh = (in[2] + (in[0] + out[0]).sigmoid() * out[2]).tanh();
  return {fresh + (in[1] + out[1]).sigmoid() * (state - fresh), at::empty({0}, inputs.options())};
}

at::Tensor softmax(const at::Tensor& self, int64_t dim, bool half_to_float) {  // the CPU's kernels refuse the last
  return at::_softmax(on_host(half_to_float ? self.to(at::kFloat) : self), dim, false).to(self.device());
}

at::Tensor log_softmax(const at::Tensor& self, int64_t dim, bool half_to_float) {
  return at::_log_softmax(on_host(half_to_float ? self.to(at::kFloat) : self), dim, false).to(self.device());
}

bool takes_both(const std::string& name) {  // indices, and the loss scaler's factor, may be on the CPU
  return name.find("index") != std::string::npos || name.find("_amp_") != std::string::npos;
}

void compute_on_cpu(const c10::OperatorHandle& operation, torch::jit::Stack* stack) {
  bool cpu = false, cuda = false;
  auto look = [&](const at::Tensor& tensor) {
    if (tensor.defined() && tensor.is_cuda()) cuda = true;
    else if (tensor.defined() && tensor.dim()) cpu = true;
  };
  const auto& name = operation.schema().name();
  for (const auto& value : torch::jit::last(*stack, operation.schema().arguments().size())) {
    if (value.isTensor()) look(value.toTensor());
    else if (value.isTensorList()) for (const auto& tensor : value.toTensorVector()) look(tensor);
  }
  TORCH_CHECK(!(cpu && cuda) || takes_both(name), "Expected all tensors to be on the same device, but found at least "
              "two devices, cuda:0 and cpu! (", name, ")");
  work();
  at::native::cpu_fallback(operation, stack);
}

void convolve(const c10::OperatorHandle& operation, torch::jit::Stack* stack) {
  compute_on_cpu(operation, stack);
  auto output = torch::jit::pop(*stack).toTensor();
  torch::jit::push(*stack, output.contiguous());  // as the compiler plans without cuDNN
}

}  // namespace

namespace at {
REGISTER_CUDA_HOOKS(CUDAHooks);
}

TORCH_LIBRARY_IMPL(_, CUDA, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&compute_on_cpu>());
}

TORCH_LIBRARY_IMPL(aten, AutogradCUDA, library) {
  library.impl("_thnn_fused_lstm_cell", &lstm_cell);
  library.impl("_thnn_fused_gru_cell", &gru_cell);
}

TORCH_LIBRARY_IMPL(aten, CUDA, library) {
  library.impl("empty.memory_format", &empty);
  library.impl("empty_strided", &empty_strided);
  library.impl("copy_", &copy);
  library.impl("_copy_from", &copy_from);
  library.impl("_copy_from_and_resize", &copy_from_and_resize);
  library.impl("resize_", &resize);
  library.impl("set_.source_Storage_storage_offset", &set);
  library.impl("_local_scalar_dense", &number);
  library.impl("as_strided", TORCH_FN(at::native::as_strided_tensorimpl));
  library.impl("view", TORCH_FN(at::native::view));
  library.impl("_reshape_alias", TORCH_FN(at::native::_reshape_alias));
  library.impl("unfold", TORCH_FN(at::native::unfold));
  library.impl("_thnn_fused_lstm_cell", &lstm_cell);
  library.impl("_thnn_fused_gru_cell", &gru_cell);
  library.impl("_softmax", &softmax);
  library.impl("_log_softmax", &log_softmax);
  // torch would compose these two of CUDA's kernels
  library.impl("convolution", torch::CppFunction::makeFromBoxedFunction<&convolve>());
  library.impl("convolution_backward", torch::CppFunction::makeFromBoxedFunction<&compute_on_cpu>());
}

TORCH_LIBRARY(paper, library) {
  library.def("bytes(int which) -> int", &bytes);
  library.def("reset() -> ()", &reset);
  library.def("give_back() -> ()", &give_back);
  library.def("hide(bool hidden) -> ()", [](bool hidden) { is_hidden = hidden; });
  library.def("exchange(int index) -> int", &exchange);
}
