#include "cuda/gemm.h"

#include <cublasLt.h>
#include <dlfcn.h>

#include <array>
#include <map>

#include "base/error.h"

namespace stretto::cuda {
namespace {

// The functions that are used, by their own types.
struct Library {
  decltype(&cublasLtCreate) create = nullptr;
  decltype(&cublasLtDestroy) destroy = nullptr;
  decltype(&cublasLtMatmul) matmul = nullptr;
  decltype(&cublasLtMatmulAlgoGetHeuristic) get_heuristic = nullptr;
  decltype(&cublasLtMatmulDescCreate) desc_create = nullptr;
  decltype(&cublasLtMatmulDescDestroy) desc_destroy = nullptr;
  decltype(&cublasLtMatmulDescSetAttribute) desc_set = nullptr;
  decltype(&cublasLtMatrixLayoutCreate) layout_create = nullptr;
  decltype(&cublasLtMatrixLayoutDestroy) layout_destroy = nullptr;
  decltype(&cublasLtMatmulPreferenceCreate) preference_create = nullptr;
  decltype(&cublasLtMatmulPreferenceDestroy) preference_destroy = nullptr;
  decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set = nullptr;
};

template <class F>
bool find(void* library, const char* name, F& f) {
  f = reinterpret_cast<F>(dlsym(library, name));
  return f != nullptr;
}

bool load(Library& l, const char** problem) {
  void* const lib = dlopen("libcublasLt.so.13", RTLD_NOW | RTLD_LOCAL);
  *problem = "libcublasLt.so.13 was not found (CUDA toolkit 13)";
  if (lib == nullptr) return false;
  *problem = "libcublasLt.so.13 lacks a function";
  return find(lib, "cublasLtCreate", l.create) && find(lib, "cublasLtDestroy", l.destroy) &&
         find(lib, "cublasLtMatmul", l.matmul) && find(lib, "cublasLtMatmulAlgoGetHeuristic", l.get_heuristic) &&
         find(lib, "cublasLtMatmulDescCreate", l.desc_create) &&
         find(lib, "cublasLtMatmulDescDestroy", l.desc_destroy) &&
         find(lib, "cublasLtMatmulDescSetAttribute", l.desc_set) &&
         find(lib, "cublasLtMatrixLayoutCreate", l.layout_create) &&
         find(lib, "cublasLtMatrixLayoutDestroy", l.layout_destroy) &&
         find(lib, "cublasLtMatmulPreferenceCreate", l.preference_create) &&
         find(lib, "cublasLtMatmulPreferenceDestroy", l.preference_destroy) &&
         find(lib, "cublasLtMatmulPreferenceSetAttribute", l.preference_set);
}

void check(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS)
    fail(ErrorKind::kCuda, "cuBLASLt: {}: status {}", what, static_cast<int>(status));
}

cudaDataType_t data_type(DType type) {
  return type == DType::kF32 ? CUDA_R_32F : type == DType::kF16 ? CUDA_R_16F : CUDA_R_16BF;
}

class LtGemm : public Gemm {
 public:
  LtGemm(const Library& library, void* workspace) : lt_(library), workspace_(workspace) {
    check(lt_.create(&handle_), "start");
  }
  ~LtGemm() override {
    for (const auto& [key, p] : products_) {
      lt_.desc_destroy(p.desc);
      for (cublasLtMatrixLayout_t layout : {p.w, p.x, p.out}) lt_.layout_destroy(layout);
    }
    lt_.destroy(handle_);
  }
  LtGemm(const LtGemm&) = delete;
  LtGemm& operator=(const LtGemm&) = delete;

  void run(cudaStream_t stream, const GemmCall& c) override {
    const Product& p = product(c);
    const float alpha = 1, beta = c.residual != nullptr ? 1 : 0;
    const float* const addend = c.residual != nullptr ? c.residual : c.out;
    check(lt_.matmul(handle_, p.desc, &alpha, c.w, p.w, c.x, p.x, &beta, addend, p.out, c.out, p.out, &p.algorithm,
                     workspace_, kWorkspaceBytes, stream),
          "product");
  }

 private:
  struct Product {
    cublasLtMatmulDesc_t desc = nullptr;
    cublasLtMatrixLayout_t w = nullptr, x = nullptr, out = nullptr;
    cublasLtMatmulAlgo_t algorithm{};
  };
  using Key = std::array<uint64_t, 8>;

  // Bytes to which every row of the results is aligned.
  static uint32_t result_alignment(const GemmCall& c) {
    const uint64_t bits = reinterpret_cast<uintptr_t>(c.out) | reinterpret_cast<uintptr_t>(c.residual) |
                          c.out_stride * sizeof(float) | 16;
    return static_cast<uint32_t>(bits & -bits);
  }

  // cuBLAS counts columns first: w is [n_in, n_out] taken transposed, x is [n_in, n_rows].
  const Product& product(const GemmCall& c) {
    const uint32_t alignment = result_alignment(c);
    const uint64_t x_stride = c.x_stride != 0 ? c.x_stride : c.stride;
    const Key key{
        static_cast<uint64_t>(c.type), c.n_out, c.n_rows, c.n_in, c.stride, x_stride, c.out_stride, alignment};
    if (const auto found = products_.find(key); found != products_.end()) return found->second;
    Product p;
    check(lt_.desc_create(&p.desc, CUBLAS_COMPUTE_32F, CUDA_R_32F), "description");
    const cublasOperation_t transposed = CUBLAS_OP_T;
    check(lt_.desc_set(p.desc, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed), "description");
    check(lt_.layout_create(&p.w, data_type(c.type), c.n_in, c.n_out, static_cast<int64_t>(c.stride)), "layout");
    check(lt_.layout_create(&p.x, data_type(c.type), c.n_in, c.n_rows, static_cast<int64_t>(x_stride)), "layout");
    check(lt_.layout_create(&p.out, CUDA_R_32F, c.n_out, c.n_rows, static_cast<int64_t>(c.out_stride)), "layout");
    cublasLtMatmulPreference_t preference = nullptr;
    check(lt_.preference_create(&preference), "preference");
    const uint64_t workspace = kWorkspaceBytes;
    check(lt_.preference_set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace),
          "preference");
    for (const auto attribute :
         {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
      check(lt_.preference_set(preference, attribute, &alignment, sizeof alignment), "preference");
    cublasLtMatmulHeuristicResult_t best{};
    int n_found = 0;
    const cublasStatus_t status =
        lt_.get_heuristic(handle_, p.desc, p.w, p.x, p.out, p.out, preference, 1, &best, &n_found);
    lt_.preference_destroy(preference);
    check(n_found > 0 ? status : CUBLAS_STATUS_NOT_SUPPORTED, "choice of an algorithm");
    p.algorithm = best.algo;
    return products_[key] = p;
  }

  const Library lt_;
  void* const workspace_;
  cublasLtHandle_t handle_ = nullptr;
  std::map<Key, Product> products_;
};

}  // namespace

std::unique_ptr<Gemm> Gemm::open(void* workspace, const char** problem) {
  Library library;
  if (!load(library, problem)) return nullptr;
  return std::make_unique<LtGemm>(library, workspace);
}

}  // namespace stretto::cuda
