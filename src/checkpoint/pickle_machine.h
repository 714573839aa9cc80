// The stack machine behind checkpoint/pickle.h: one method per group of opcodes.
#pragma once

#include <fmt/format.h>

#include <utility>

#include "base/error.h"
#include "checkpoint/pickle.h"
#include "checkpoint/pickle_globals.h"

namespace stretto {

class PickleMachine {
 public:
  PickleMachine(std::span<const std::byte> bytes, std::string_view label) : bytes_(bytes), label_(label) {}
  Pickle run();

 private:
  // pickle_machine.cpp: the stream, the stack, the memo
  bool step();  // false: STOP
  bool step_scalar(uint8_t op);
  bool step_text(uint8_t op);
  bool step_stack(uint8_t op);
  bool step_container(uint8_t op);
  bool step_object(uint8_t op);
  template <class T>
  T number();                     // little-endian
  void count_string(uint64_t n);  // against the limit of all strings
  std::string text(uint64_t n);   // the next n bytes
  std::string utf8(uint64_t n);
  std::string line();  // up to a line feed
  PickleId add(PickleValue value);
  void push(PickleId id);
  void push_int(int64_t v) { push(add({.kind = PickleKind::kInt, .integer = v, .text = {}, .items = {}})); }
  PickleId pop();
  PickleId top();
  std::vector<PickleId> pop_to_mark();
  void pop_mark();
  PickleId memo(uint64_t index) const;
  void remember(uint64_t index);
  PickleValue& value(PickleId id) { return out_.values[id]; }
  void put(PickleId container, PickleId item);  // at its end
  void set_items(PickleId dict, const std::vector<PickleId>& pairs);
  void push_tuple(std::vector<PickleId> items);

  // pickle_objects.cpp: what stands for objects
  void push_global(const std::string& name);
  void reduce(PickleId callable, PickleId arguments);
  void build(PickleId target, PickleId state);
  void new_object(PickleId type, PickleId arguments);
  void push_storage(PickleId id);
  void push_tensor(const std::vector<PickleId>& arguments);
  void push_parameter(const std::vector<PickleId>& arguments, size_t n_wanted);
  void push_encoded(const std::vector<PickleId>& arguments);
  void push_dict();
  std::vector<uint64_t> dimensions(PickleId tuple, std::string_view what);
  void require_empty_dict(PickleId id, std::string_view what);
  int64_t non_negative(PickleId id, std::string_view what);

  template <class... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) const {
    fail(ErrorKind::kInvalidModel, "{}: {} (byte {} of the pickle)", label_,
         fmt::format(format, std::forward<Args>(args)...), op_at_);
  }

  std::span<const std::byte> bytes_;
  std::string_view label_;
  uint64_t at_ = 0;
  uint64_t op_at_ = 0;  // where the present opcode stands
  uint64_t string_bytes_ = 0;
  std::vector<PickleId> stack_;
  std::vector<size_t> marks_;  // heights of the stack
  std::vector<PickleId> memo_;
  uint64_t n_memorised_ = 0;  // for MEMOIZE
  Pickle out_;
};

}  // namespace stretto
