#include "program/lower.h"

#include "base/error.h"

namespace stretto::detail {

void fail_unsupported(const Node& node, std::string_view op) {
  fail(ErrorKind::kUnsupported,
       "layer {}, {}: this backend has no kernel for {} with these tensor types; --device oracle runs it", node.layer,
       node.role, op);
}

}  // namespace stretto::detail
