// Any bytes as a .pt file: the archive, the checksums, the search for the state dict, the copies of views.
#include "checkpoint/pt_checkpoint.h"
#include "fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace stretto;
  fuzz::expect_answer([=] {
    const PtContent content = parse_pt(fuzz::as_bytes(data, size), "fuzz", {.verify_storages = false});
    uint64_t n_bytes = 0;
    for (const StoredTensor& tensor : content.tensors) {
      CHECK(!tensor.name.empty());
      CHECK(tensor.view.bytes.size() == tensor.view.shape.elements() * info(tensor.view.type).block_bytes);
      for (const std::byte b : tensor.view.bytes.first(std::min<size_t>(tensor.view.bytes.size(), 4096)))
        n_bytes += static_cast<uint64_t>(b) & 1;
    }
    volatile uint64_t sink = n_bytes;
    static_cast<void>(sink);
    fuzz::check_metadata(content.config);
  });
  return 0;
}
