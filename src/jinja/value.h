// The values of a template. Lists, dicts, namespaces, callables and loops belong to the Runtime of one rendering, which
// frees them all at its end: values may refer to each other in any way, cycles included, and nothing is freed by
// recursion. Strings are counted references, because most of them are short-lived.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace stretto::jinja {

class Runtime;
class Value;
struct Arguments;
struct MacroStatement;
struct Scope;

// An integer of a template, within [-2^63, 2^64): int64 and the unsigned numbers of JSON.
using Int = __int128;

struct TextData {
  TextData(std::string text, uint64_t* meter) : bytes(std::move(text)), live_bytes(meter) {}
  ~TextData() {
    if (live_bytes != nullptr) *live_bytes -= cost(bytes.size());
  }
  TextData(const TextData&) = delete;
  TextData& operator=(const TextData&) = delete;

  static uint64_t cost(size_t n_bytes) { return n_bytes + 80; }  // with the two allocations

  const std::string bytes;
  uint64_t* const live_bytes;  // the count of the rendering that made it; null for the template's own texts
};
using Text = std::shared_ptr<const TextData>;

inline Text make_text(std::string text) { return std::make_shared<const TextData>(std::move(text), nullptr); }

struct List;
struct Dict;
struct Namespace;
struct Callable;
struct Loop;

enum class Type : uint8_t {
  kUndefined,
  kNone,
  kBool,
  kInteger,
  kFloat,
  kString,
  kList,  // or tuple
  kDict,
  kNamespace,
  kCallable,
  kLoop,
};

class Value {
 public:
  Value() : data_(None{}) {}
  // `what` names it in messages; may be null.
  static Value undefined(Text what) { return Value(Data(Undefined{std::move(what)})); }
  static Value none() { return Value(); }
  static Value boolean(bool v) { return Value(Data(std::in_place_type<bool>, v)); }
  static Value integer(Int v) { return Value(Data(std::in_place_type<Int>, v)); }
  static Value number(double v) { return Value(Data(std::in_place_type<double>, v)); }
  static Value string(Text v) { return Value(Data(std::move(v))); }
  static Value list(List* v) { return Value(Data(v)); }
  static Value dict(Dict* v) { return Value(Data(v)); }
  static Value name_space(Namespace* v) { return Value(Data(v)); }
  static Value callable(Callable* v) { return Value(Data(v)); }
  static Value loop(Loop* v) { return Value(Data(v)); }

  Type type() const { return static_cast<Type>(data_.index()); }
  bool is_undefined() const { return type() == Type::kUndefined; }
  bool is_none() const { return type() == Type::kNone; }
  bool is_string() const { return type() == Type::kString; }
  bool is_dict() const { return type() == Type::kDict; }
  bool is_list() const { return type() == Type::kList; }  // or tuple
  bool is_integral() const { return type() == Type::kInteger || type() == Type::kBool; }
  bool is_numeric() const { return is_integral() || type() == Type::kFloat; }

  // Each only for its type.
  const Text& undefined_what() const { return std::get<Undefined>(data_).what; }
  bool as_bool() const { return std::get<bool>(data_); }
  Int as_integer() const { return type() == Type::kBool ? Int(std::get<bool>(data_)) : std::get<Int>(data_); }
  double as_float() const {  // of any number
    return type() == Type::kFloat ? std::get<double>(data_) : static_cast<double>(as_integer());
  }
  const Text& as_text() const { return std::get<Text>(data_); }
  std::string_view view() const { return std::get<Text>(data_)->bytes; }
  List& as_list() const { return *std::get<List*>(data_); }
  Dict& as_dict() const { return *std::get<Dict*>(data_); }
  Namespace& as_namespace() const { return *std::get<Namespace*>(data_); }
  Callable& as_callable() const { return *std::get<Callable*>(data_); }
  Loop& as_loop() const { return *std::get<Loop*>(data_); }

  // Whether both are the same object (equal scalars included): Python's `is`.
  bool same_as(const Value& other) const;

 private:
  struct Undefined {
    Text what;
  };
  struct None {};
  using Data = std::variant<Undefined, None, bool, Int, double, Text, List*, Dict*, Namespace*, Callable*, Loop*>;
  explicit Value(Data data) : data_(std::move(data)) {}
  Data data_;
};

struct List {
  std::vector<Value> items;
  bool is_tuple = false;
  bool is_group = false;  // a (grouper, list) pair of the groupby filter
};

// A total order on what may be a key (is_hashable): equal numbers are one key, whatever their types.
struct KeyLess {
  using is_transparent = void;
  bool operator()(const Value& a, const Value& b) const;
  bool operator()(const Value& a, std::string_view b) const;
  bool operator()(std::string_view a, const Value& b) const;
};

// Scalars, and tuples of scalars.
bool is_hashable(const Value& v);

// Keeps the order of insertion; entries are never removed.
struct Dict {
  std::vector<std::pair<Value, Value>> entries;

  // The value of a hashable key, null if there is none.
  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;
  // True if the key is new.
  bool set(Value key, Value value);

 private:
  template <class Key>
  size_t position(const Key& key) const;  // entries.size() if there is none

  static constexpr size_t kIndexed = 8;  // from so many entries on, an index is kept
  std::map<Value, size_t, KeyLess> index_;
};

struct Namespace {
  Dict attributes;
};

// A filter, a method or a function: `input` is the value on its left (none for functions).
using Native = Value (*)(Runtime&, const Value& input, const Arguments&);

// What can be called: a native with its input, a macro or call block with its scope, or a loop's method.
struct Callable {
  std::string_view name;
  Native native = nullptr;
  Value input;
  const MacroStatement* macro = nullptr;
  Scope* scope = nullptr;
};

// `loop` inside a for statement. With a condition in the statement, items are accepted one by one, as late as needed.
struct Loop {
  std::vector<Value> accepted;
  std::vector<Value> waiting;  // items that the condition has not seen, from `next` on
  size_t next = 0;
  std::function<bool(const Value&)> accepts;  // empty after the loop has ended
  size_t index0 = 0;
  uint32_t depth0 = 0;
  Value last_changed;  // the arguments of the last changed(); none before
  // Renders the body over another value (recursive loops); empty otherwise and after the loop has ended.
  std::function<Value(const Value&)> recurse;

  // Whether there is an item `index`; accepts items up to it.
  bool has(size_t index);
};

// "str", "int", ... for messages.
std::string_view type_name(const Value& v);

}  // namespace stretto::jinja
