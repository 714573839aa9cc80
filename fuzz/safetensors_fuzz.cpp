// Any bytes as a safetensors file.
#include "checkpoint/safetensors.h"
#include "fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace stretto;
  fuzz::expect_answer([=] {
    const SafetensorsContent content = parse_safetensors(fuzz::as_bytes(data, size), "fuzz");
    uint64_t total = 0;
    for (const StoredTensor& tensor : content.tensors) {
      fuzz::check_view(tensor.view, fuzz::as_bytes(data, size));
      total += tensor.view.bytes.size();
    }
    CHECK(total < size);  // the tensors fill what follows the header
  });
  return 0;
}
