// Any bytes as the pickle of a .pt file. What is accepted must hold together: every reference inside, every tensor
// inside its storage, no container inside itself.
#include "checkpoint/pickle.h"
#include "fuzz/input.h"

namespace stretto::fuzz {
namespace {

void check_tensor(const Pickle& p, const PickleTensor& t) {
  CHECK(t.storage < p.storages.size());
  CHECK(t.size.size() == t.stride.size() && t.size.size() <= 16);
  uint64_t last = t.offset;
  for (size_t i = 0; i < t.size.size(); ++i) {
    if (t.size[i] == 0) return;  // no elements
    last += (t.size[i] - 1) * t.stride[i];
  }
  CHECK(last < p.storages[t.storage].n_elements);
}

// Depth first over what the root reaches; the reader promises an end.
void check_reach(const Pickle& p) {
  std::vector<bool> seen(p.values.size());
  std::vector<PickleId> open{p.root};
  while (!open.empty()) {
    const PickleId id = open.back();
    open.pop_back();
    CHECK(id < p.values.size());
    if (seen[id]) continue;
    seen[id] = true;
    const PickleValue& v = p[id];
    CHECK(v.kind != PickleKind::kDict || v.items.size() % 2 == 0);
    CHECK(v.kind != PickleKind::kTensor || static_cast<size_t>(v.integer) < p.tensors.size());
    CHECK(v.kind != PickleKind::kStorage || static_cast<size_t>(v.integer) < p.storages.size());
    open.insert(open.end(), v.items.begin(), v.items.end());
  }
}

}  // namespace
}  // namespace stretto::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace stretto;
  fuzz::expect_answer([=] {
    const Pickle p = parse_pickle(fuzz::as_bytes(data, size), "fuzz");
    fuzz::check_reach(p);
    for (const PickleTensor& t : p.tensors) fuzz::check_tensor(p, t);
  });
  return 0;
}
