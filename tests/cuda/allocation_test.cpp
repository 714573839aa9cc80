// Nothing is allocated once a model is loaded: every way to get memory from the C and C++ libraries is counted.
#include <gtest/gtest.h>

#include <cuda_runtime.h>

#include <cstdlib>
#include <new>
#include <random>

#include "cuda/device.h"
#include "cuda/executable.h"
#include "models/reference_models.h"

extern "C" {
void* __libc_malloc(size_t bytes);
void* __libc_calloc(size_t n, size_t bytes);
void* __libc_realloc(void* p, size_t bytes);
void* __libc_memalign(size_t alignment, size_t bytes);
extern char __executable_start, etext;
}

namespace {

// Counted on the thread that asks for it, apart for what this program (the CUDA runtime in it included) and what shared
// libraries (the driver) ask for.
struct Count {
  uint64_t program = 0, libraries = 0;
  bool operator==(const Count&) const = default;
};
thread_local Count n_allocations;
thread_local bool counting = false;

void count(const void* caller) {
  if (!counting) return;
  const bool own = caller >= &__executable_start && caller < &etext;
  ++(own ? n_allocations.program : n_allocations.libraries);
}

}  // namespace

extern "C" {
void* malloc(size_t bytes) {
  count(__builtin_return_address(0));
  return __libc_malloc(bytes);
}
void* calloc(size_t n, size_t bytes) {
  count(__builtin_return_address(0));
  return __libc_calloc(n, bytes);
}
void* realloc(void* p, size_t bytes) {
  count(__builtin_return_address(0));
  return __libc_realloc(p, bytes);
}
void* aligned_alloc(size_t alignment, size_t bytes) {
  count(__builtin_return_address(0));
  return __libc_memalign(alignment, bytes);
}
void* memalign(size_t alignment, size_t bytes) {
  count(__builtin_return_address(0));
  return __libc_memalign(alignment, bytes);
}
int posix_memalign(void** out, size_t alignment, size_t bytes) {
  count(__builtin_return_address(0));
  *out = __libc_memalign(alignment, bytes);
  return *out == nullptr ? 12 : 0;
}
}

void* operator new(size_t bytes) {
  count(&__executable_start);
  if (void* p = __libc_malloc(bytes)) return p;
  throw std::bad_alloc();
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }

namespace stretto::test {
namespace {

// The counters count: otherwise the tests below prove nothing.
TEST(Allocations, AreCounted) {
  counting = true;
  n_allocations = {};
  void* volatile p = std::malloc(1);
  std::free(p);
  auto* volatile q = new int;
  delete q;
  counting = false;
  EXPECT_EQ(n_allocations, (Count{.program = 2, .libraries = 0}));
}

// 500 tokens by steps from the host, 500 by the loop on the device, 500 more drawn there.
Count count_thousand_tokens(Executable& executable) {
  const int32_t token = 1, output = 0;
  const std::mt19937_64 random(3);
  TokenChoice choice{.bias = {}, .window = 64, .presence_penalty = 0.5, .history = {&token, 1}, .random = &random};
  choice.steps[choice.n_steps++] = {ChoiceStep::kTopK, 40};
  choice.steps[choice.n_steps++] = {ChoiceStep::kTopP, 0.95};
  executable.run({.tokens = {&token, 1}, .position = 0, .outputs = {&output, 1}});
  executable.start_greedy(1, 0);
  executable.next_token();
  n_allocations = {};
  counting = true;
  for (uint64_t i = 0; i < 500; ++i) executable.run({.tokens = {&token, 1}, .position = i, .outputs = {&output, 1}});
  executable.start_greedy(1, 500);
  for (int i = 0; i < 500; ++i) executable.next_token();
  executable.start_decode(1, 1000, choice);
  for (int i = 0; i < 500; ++i) executable.next_token();
  counting = false;
  return n_allocations;
}

TEST(Allocations, NoneInAThousandTokensHoweverTheyAreLaunched) {
  SKIP_WITHOUT_DEVICE();
  for (const char* name : {"gguf/llama.q8_0", "gguf/llama.q4_k_m"}) {
    const auto checkpoint = open_checkpoint(ReferenceCase{name}.model_path());
    const Model model = load_model(*checkpoint, {.kv_type = DType::kF16});
    for (const bool graph : {true, false}) {
      for (const bool pdl : {true, false}) {
        const auto backend = make_cuda_backend({.graph = graph, .dependent_launch = pdl});
        const auto executable = backend->compile(model.program, {.n_ctx = 2048, .max_tokens = 16, .max_outputs = 1});
        count_thousand_tokens(*executable);  // the driver's own tables may grow once
        size_t free_before = 0, free_after = 0, total = 0;
        ASSERT_EQ(cudaMemGetInfo(&free_before, &total), cudaSuccess);
        const Count n = count_thousand_tokens(*executable);
        ASSERT_EQ(cudaMemGetInfo(&free_after, &total), cudaSuccess);
        std::printf(
            "%s graph %d pdl %d: %llu allocations by the program, %llu by libraries, %lld bytes of the device\n", name,
            graph, pdl, static_cast<unsigned long long>(n.program), static_cast<unsigned long long>(n.libraries),
            static_cast<long long>(free_before) - static_cast<long long>(free_after));
        EXPECT_EQ(n.program, 0U) << name << " graph " << graph << " pdl " << pdl;
        EXPECT_EQ(n.libraries, 0U) << name << " graph " << graph << " pdl " << pdl;
        EXPECT_EQ(free_after, free_before) << name << " graph " << graph << " pdl " << pdl;
      }
    }
  }
}

}  // namespace
}  // namespace stretto::test
