#include "checkpoint/pickle_machine.h"

#include <bit>
#include <cstring>

#include "checkpoint/utf8.h"

namespace stretto {
namespace {

constexpr uint64_t kMaxPickleBytes = 256 << 20, kMaxStringBytes = 256 << 20;
constexpr size_t kMaxStack = 1'000'000, kMaxMemo = 4'000'000, kMaxValues = 4'000'000;
constexpr uint16_t kMaxDepth = 100;
constexpr uint64_t kMaxLineBytes = 4096;
constexpr PickleId kUnset = UINT32_MAX;

}  // namespace

template <class T>
T PickleMachine::number() {
  if (bytes_.size() - at_ < sizeof(T)) refuse("the pickle ends inside a number");
  T v;
  std::memcpy(&v, bytes_.data() + at_, sizeof(T));
  at_ += sizeof(T);
  return v;
}

void PickleMachine::count_string(uint64_t n) {
  string_bytes_ += n;
  if (string_bytes_ > kMaxStringBytes) refuse("more than {} bytes of strings", kMaxStringBytes);
}

std::string PickleMachine::text(uint64_t n) {
  if (n > bytes_.size() - at_) refuse("a string of {} bytes, {} bytes are left", n, bytes_.size() - at_);
  count_string(n);
  const auto* const first = reinterpret_cast<const char*>(bytes_.data() + at_);
  at_ += n;
  return {first, n};
}

std::string PickleMachine::utf8(uint64_t n) {
  std::string s = text(n);
  if (!is_valid_utf8(s)) refuse("a string of {} bytes is not UTF-8", n);
  return s;
}

std::string PickleMachine::line() {
  const auto* const first = reinterpret_cast<const char*>(bytes_.data() + at_);
  const uint64_t reach = std::min<uint64_t>(bytes_.size() - at_, kMaxLineBytes);
  const void* const end = std::memchr(first, '\n', reach);
  if (end == nullptr) refuse("a name without an end within {} bytes", reach);
  std::string s = utf8(static_cast<uint64_t>(static_cast<const char*>(end) - first));
  ++at_;
  return s;
}

PickleId PickleMachine::add(PickleValue value) {
  if (out_.values.size() >= kMaxValues) refuse("more than {} values", kMaxValues);
  out_.values.push_back(std::move(value));
  return static_cast<PickleId>(out_.values.size() - 1);
}

void PickleMachine::push(PickleId id) {
  if (stack_.size() >= kMaxStack) refuse("more than {} values on the stack", kMaxStack);
  stack_.push_back(id);
}

PickleId PickleMachine::top() {
  if (stack_.size() <= (marks_.empty() ? 0 : marks_.back())) refuse("a value is missing on the stack");
  return stack_.back();
}

PickleId PickleMachine::pop() {
  const PickleId id = top();
  stack_.pop_back();
  return id;
}

std::vector<PickleId> PickleMachine::pop_to_mark() {
  if (marks_.empty()) refuse("a mark is missing on the stack");
  const auto first = stack_.begin() + static_cast<int64_t>(marks_.back());
  std::vector<PickleId> items(first, stack_.end());
  stack_.erase(first, stack_.end());
  marks_.pop_back();
  return items;
}

void PickleMachine::pop_mark() {
  if (!marks_.empty() && marks_.back() == stack_.size()) {
    marks_.pop_back();
  } else {
    pop();
  }
}

PickleId PickleMachine::memo(uint64_t index) const {
  if (index >= memo_.size() || memo_[index] == kUnset) refuse("memo {} was never written", index);
  return memo_[index];
}

void PickleMachine::remember(uint64_t index) {
  if (index >= kMaxMemo) refuse("memo {}, at most {} are kept", index, kMaxMemo);
  if (index >= memo_.size()) memo_.resize(index + 1, kUnset);
  n_memorised_ += memo_[index] == kUnset;
  memo_[index] = top();
}

void PickleMachine::put(PickleId container, PickleId item) {
  const uint16_t depth = value(item).items.empty() ? 1 : static_cast<uint16_t>(value(item).depth + 1);
  PickleValue& c = value(container);
  c.depth = std::max(c.depth, depth);
  if (c.depth > kMaxDepth) refuse("containers are nested deeper than {}", kMaxDepth);
  c.items.push_back(item);
}

void PickleMachine::set_items(PickleId dict, const std::vector<PickleId>& pairs) {
  if (value(dict).kind != PickleKind::kDict) refuse("items are set on what is no dict");
  if (pairs.size() % 2 != 0) refuse("a key without a value");
  for (size_t i = 0; i < pairs.size(); ++i) {
    const PickleKind kind = value(pairs[i]).kind;
    if (i % 2 == 0 && kind != PickleKind::kString && kind != PickleKind::kInt)
      refuse("a dict's key is neither a string nor an integer");
    put(dict, pairs[i]);
  }
}

void PickleMachine::push_tuple(std::vector<PickleId> items) {
  const PickleId tuple = add({.kind = PickleKind::kTuple, .text = {}, .items = {}});
  for (const PickleId item : items) put(tuple, item);
  push(tuple);
}

bool PickleMachine::step_scalar(uint8_t op) {
  switch (op) {
    case 'N':
      push(add({.kind = PickleKind::kNone, .text = {}, .items = {}}));
      return true;
    case 0x88:
    case 0x89:
      push(add({.kind = PickleKind::kBool, .integer = op == 0x88, .text = {}, .items = {}}));
      return true;
    case 'J':
      push_int(number<int32_t>());
      return true;
    case 'K':
      push_int(number<uint8_t>());
      return true;
    case 'M':
      push_int(number<uint16_t>());
      return true;
    case 0x8a: {  // LONG1: two's complement, little-endian
      const auto n = number<uint8_t>();
      if (n > 8) refuse("an integer of {} bytes, at most 8 are read", n);
      const std::string digits = text(n);
      uint64_t v = n > 0 && (digits.back() & 0x80) != 0 ? ~uint64_t{0} : 0;
      std::memcpy(&v, digits.data(), n);
      push_int(static_cast<int64_t>(v));
      return true;
    }
    case 'G': {  // big-endian
      const auto bits = __builtin_bswap64(number<uint64_t>());
      push(add({.kind = PickleKind::kFloat, .number = std::bit_cast<double>(bits), .text = {}, .items = {}}));
      return true;
    }
    default:
      return false;
  }
}

bool PickleMachine::step_text(uint8_t op) {
  const auto push_text = [this](PickleKind kind, std::string s) {
    push(add({.kind = kind, .text = std::move(s), .items = {}}));
    return true;
  };
  switch (op) {
    case 'X':
      return push_text(PickleKind::kString, utf8(number<uint32_t>()));
    case 0x8c:
      return push_text(PickleKind::kString, utf8(number<uint8_t>()));
    case 'U':
      return push_text(PickleKind::kBytes, text(number<uint8_t>()));
    case 'T': {
      const auto n = number<int32_t>();
      if (n < 0) refuse("a string of {} bytes", n);
      return push_text(PickleKind::kBytes, text(static_cast<uint64_t>(n)));
    }
    case 'C':
      return push_text(PickleKind::kBytes, text(number<uint8_t>()));
    default:
      return false;
  }
}

bool PickleMachine::step_stack(uint8_t op) {
  switch (op) {
    case '(':
      if (marks_.size() >= kMaxStack) refuse("more than {} marks", kMaxStack);
      marks_.push_back(stack_.size());
      return true;
    case '0':
      pop_mark();
      return true;
    case '1':
      pop_to_mark();
      return true;
    case 'q':
      remember(number<uint8_t>());
      return true;
    case 'r':
      remember(number<uint32_t>());
      return true;
    case 0x94:
      remember(n_memorised_);
      return true;
    case 'h':
      push(memo(number<uint8_t>()));
      return true;
    case 'j':
      push(memo(number<uint32_t>()));
      return true;
    case 0x95: {  // FRAME: a length that nothing here needs
      const auto n = number<uint64_t>();
      if (n > bytes_.size() - at_) refuse("a frame of {} bytes, {} bytes are left", n, bytes_.size() - at_);
      return true;
    }
    default:
      return false;
  }
}

bool PickleMachine::step_container(uint8_t op) {
  const auto push_empty = [this](PickleKind kind) {
    push(add({.kind = kind, .text = {}, .items = {}}));
    return true;
  };
  const auto append = [this](const std::vector<PickleId>& items, PickleKind kind) {
    const PickleId container = top();
    if (value(container).kind != kind)
      refuse("items are added to what is no {}", kind == PickleKind::kList ? "list" : "set");
    for (const PickleId item : items) put(container, item);
    return true;
  };
  switch (op) {
    case ')':
      return push_empty(PickleKind::kTuple);
    case ']':
      return push_empty(PickleKind::kList);
    case '}':
      return push_empty(PickleKind::kDict);
    case 0x8f:
      return push_empty(PickleKind::kSet);
    case 't':
      push_tuple(pop_to_mark());
      return true;
    case 0x85:
    case 0x86:
    case 0x87: {
      std::vector<PickleId> items(op - 0x84U);
      for (size_t i = items.size(); i-- > 0;) items[i] = pop();
      push_tuple(std::move(items));
      return true;
    }
    case 'a':
      return append({pop()}, PickleKind::kList);
    case 'e':
      return append(pop_to_mark(), PickleKind::kList);
    case 0x90:
      return append(pop_to_mark(), PickleKind::kSet);
    case 's': {
      const PickleId item = pop(), key = pop();
      set_items(top(), {key, item});
      return true;
    }
    case 'u': {
      const std::vector<PickleId> pairs = pop_to_mark();
      set_items(top(), pairs);
      return true;
    }
    default:
      return false;
  }
}

bool PickleMachine::step_object(uint8_t op) {
  switch (op) {
    case 'c': {
      const std::string module = line();
      push_global(module + " " + line());
      return true;
    }
    case 0x93: {
      const PickleId name = pop(), module = pop();
      if (value(name).kind != PickleKind::kString || value(module).kind != PickleKind::kString)
        refuse("a global whose name is no string");
      push_global(value(module).text + " " + value(name).text);
      return true;
    }
    case 'R': {
      const PickleId arguments = pop(), callable = pop();
      reduce(callable, arguments);
      return true;
    }
    case 'b': {
      const PickleId state = pop();
      build(top(), state);
      return true;
    }
    case 0x81: {
      const PickleId arguments = pop(), type = pop();
      new_object(type, arguments);
      return true;
    }
    case 'Q':
      push_storage(pop());
      return true;
    default:
      return false;
  }
}

bool PickleMachine::step() {
  op_at_ = at_;
  if (at_ == bytes_.size()) refuse("the pickle ends without STOP");
  const auto op = number<uint8_t>();
  if (op == '.') return false;
  if (step_scalar(op) || step_text(op) || step_stack(op) || step_container(op) || step_object(op)) return true;
  refuse("opcode 0x{:02x} is not one that checkpoints of tensors need", op);
}

Pickle PickleMachine::run() {
  if (bytes_.size() > kMaxPickleBytes) refuse("{} bytes, at most {} are read", bytes_.size(), kMaxPickleBytes);
  if (bytes_.size() < 2 || bytes_[0] != std::byte{0x80}) refuse("it does not begin with a protocol of 2 or later");
  at_ = 1;
  if (const auto protocol = number<uint8_t>(); protocol < 2 || protocol > 5)
    refuse("protocol {}, wanted 2 to 5", protocol);
  while (step()) {
  }
  if (stack_.size() != 1 || !marks_.empty())
    refuse("{} values and {} marks are left at STOP, wanted one value", stack_.size(), marks_.size());
  if (at_ != bytes_.size()) refuse("{} bytes behind STOP", bytes_.size() - at_);
  out_.root = stack_.front();
  return std::move(out_);
}

}  // namespace stretto
