// The backend's promises beside its numbers.
#include <gtest/gtest.h>

#include <cuda_runtime.h>

#include "base/error.h"
#include "cuda/device.h"
#include "cuda/executable.h"
#include "models/reference_models.h"

namespace stretto::test {
namespace {

TEST(CudaMachine, SaysWhatIsThereOrWhyNot) {
  const CudaMachine m = cuda_machine();
  EXPECT_FALSE(m.runtime.empty());
  EXPECT_EQ(m.problem.empty(), !m.devices.empty());
  for (const CudaDevice& d : m.devices) EXPECT_FALSE(d.name.empty());
}

TEST(CudaMachine, ADeviceThatIsNotThereIsAnError) {
  try {
    make_cuda_backend({.device = 99});
    FAIL();
  } catch (const Error& e) {
    EXPECT_TRUE(e.kind() == ErrorKind::kCuda || e.kind() == ErrorKind::kBadArgument);
    EXPECT_NE(std::string(e.what()).find("cuda"), std::string::npos);
  }
}

struct Loaded {
  std::unique_ptr<Checkpoint> checkpoint;
  Model model;
  std::unique_ptr<Executable> executable;
};

Loaded load(const char* name, uint64_t n_ctx) {
  Loaded l{.checkpoint = open_checkpoint(ReferenceCase{name}.model_path()), .model = {}, .executable = {}};
  l.model = load_model(*l.checkpoint, {.kv_type = DType::kF16});
  l.executable = make_cuda_backend({})->compile(l.model.program, {.n_ctx = n_ctx, .max_tokens = 16, .max_outputs = 1});
  return l;
}

// Whatever earlier steps left in the activations must not reach a result.
TEST(CudaBackend, GarbageInTheActivationsDoesNotShow) {
  SKIP_WITHOUT_DEVICE();
  for (const char* name : {"gguf/llama.q8_0", "gguf/qwen3.f16"}) {
    const Loaded l = load(name, 64);
    const auto& cuda_executable = dynamic_cast<const cuda::CudaExecutable&>(*l.executable);
    const int32_t tokens[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, output = 10, first = 0;
    std::vector<float> clean[2];
    for (const int poison : {0x00, 0xff}) {
      std::vector<float> got;
      for (uint64_t position : {0, 11, 12}) {
        const uint64_t n = position == 0 ? 11 : 1;
        ASSERT_EQ(cudaMemset(cuda_executable.activations().data(), poison, cuda_executable.activations().bytes()),
                  cudaSuccess);
        const auto logits = l.executable->run(
            {.tokens = {tokens, n}, .position = position, .outputs = {position == 0 ? &output : &first, 1}});
        got.insert(got.end(), logits.begin(), logits.end());
      }
      clean[poison != 0] = got;
    }
    EXPECT_EQ(clean[0], clean[1]) << name;
  }
}

}  // namespace
}  // namespace stretto::test
