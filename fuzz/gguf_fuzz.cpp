// Any bytes as a GGUF file. What is accepted must be consistent, and survive being written and read again.
#include "checkpoint/gguf_reader.h"
#include "checkpoint/gguf_writer.h"
#include "fuzz/input.h"

namespace stretto::fuzz {
namespace {

constexpr uint64_t kMaxRewrittenBytes = 1 << 20;

void check_rewritten(const GgufContent& content) {
  std::vector<GgufTensorPlan> plan;
  uint64_t data_bytes = 0;
  for (const StoredTensor& tensor : content.tensors) {
    plan.push_back({tensor.name, tensor.view.type, tensor.view.shape});
    data_bytes += tensor.view.bytes.size() + content.alignment;
  }
  if (content.alignment + data_bytes > kMaxRewrittenBytes) return;
  std::vector<std::byte> file = encode_gguf_header(content.metadata, plan);
  const size_t header_bytes = file.size();
  file.resize(header_bytes + data_bytes);
  const GgufContent again = parse_gguf(file, "again");
  CHECK(again.data_start == header_bytes);
  CHECK(again.alignment == content.alignment);
  CHECK(again.metadata.entries().size() == content.metadata.entries().size());
  CHECK(again.tensors.size() == content.tensors.size());
  for (size_t i = 0; i < again.tensors.size(); ++i) {
    CHECK(again.tensors[i].name == content.tensors[i].name);
    CHECK(again.tensors[i].view.bytes.size() == content.tensors[i].view.bytes.size());
  }
}

}  // namespace
}  // namespace stretto::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace stretto;
  fuzz::expect_answer([=] {
    const GgufContent content = parse_gguf(fuzz::as_bytes(data, size), "fuzz");
    for (const StoredTensor& tensor : content.tensors) fuzz::check_view(tensor.view, fuzz::as_bytes(data, size));
    fuzz::check_metadata(content.metadata);
    fuzz::check_rewritten(content);
  });
  return 0;
}
