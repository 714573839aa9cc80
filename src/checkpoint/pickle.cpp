#include "checkpoint/pickle.h"

#include <algorithm>

#include "checkpoint/pickle_machine.h"

namespace stretto {
namespace {

// A container that contains itself can only be made through the memo; nothing that torch.save writes does. Depth first,
// without recursion.
void refuse_cycles(const Pickle& p, std::string_view label) {
  enum : uint8_t { kNew, kOpen, kDone };
  std::vector<uint8_t> state(p.values.size(), kNew);
  struct Visit {
    PickleId id;
    size_t next;
  };
  std::vector<Visit> open;
  for (PickleId start = 0; start < p.values.size(); ++start) {
    if (state[start] != kNew) continue;
    open.push_back({start, 0});
    state[start] = kOpen;
    while (!open.empty()) {
      Visit& v = open.back();
      const std::vector<PickleId>& items = p[v.id].items;
      if (v.next == items.size()) {
        state[v.id] = kDone;
        open.pop_back();
        continue;
      }
      const PickleId item = items[v.next++];
      if (state[item] == kOpen) fail(ErrorKind::kInvalidModel, "{}: a container contains itself", label);
      if (state[item] == kDone) continue;
      state[item] = kOpen;
      open.push_back({item, 0});
    }
  }
}

}  // namespace

std::optional<PickleId> Pickle::find(PickleId dict, std::string_view key) const {
  const PickleValue& d = values[dict];
  if (d.kind != PickleKind::kDict) return std::nullopt;
  for (size_t i = d.items.size(); i >= 2; i -= 2) {
    const PickleValue& k = values[d.items[i - 2]];
    if (k.kind == PickleKind::kString && k.text == key) return d.items[i - 1];
  }
  return std::nullopt;
}

Pickle parse_pickle(std::span<const std::byte> bytes, std::string_view label) {
  Pickle p = PickleMachine(bytes, label).run();
  refuse_cycles(p, label);
  return p;
}

}  // namespace stretto
