#include "base/json.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <vector>

#include "base/json_tree.h"

namespace stretto {
namespace {

// Stand-ins for Python's three constants inside the parsed text, of the same length so that offsets stay true.
constexpr std::string_view kInfinityToken = "\"\\u0001\"";        // for Infinity
constexpr std::string_view kMinusInfinityToken = "\"\\u0002\" ";  // for -Infinity
constexpr std::string_view kNanToken = "\"\x7f\"";                // for NaN

// Feeds the lexer and lets the handler know how far it has read.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, const char** furthest) : at_(at), furthest_(furthest) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    *furthest_ = ++at_;
    return *this;
  }
  CountingIterator operator++(int) {
    CountingIterator before = *this;
    ++*this;
    return before;
  }
  bool operator==(const CountingIterator& o) const { return at_ == o.at_; }
  bool operator!=(const CountingIterator& o) const { return at_ != o.at_; }

 private:
  const char* at_;
  const char** furthest_;
};

// Builds the value. Containers are appended to without nlohmann's linear duplicate search; duplicates are looked for
// once, by sorting, when an object closes.
class Builder : public nlohmann::json_sax<Json> {
 public:
  Builder(std::string_view text, std::string_view where, const JsonOptions& options)
      : begin_(text.data()), furthest_(text.data()), where_(where), options_(options) {}

  const char** furthest() { return &furthest_; }
  Json take() { return tree_.take(); }

  bool null() override { return add(nullptr); }
  bool boolean(bool v) override { return add(v); }
  bool number_integer(number_integer_t v) override { return add(v); }
  bool number_unsigned(number_unsigned_t v) override { return add(v); }
  bool number_float(number_float_t v, const string_t& literal) override {
    if (!options_.wide_integers_as_double && literal.find_first_of(".eE") == string_t::npos) {
      refuse(fmt::format("integer {} is outside 64 bits", literal.substr(0, 40)));
    }
    return add(v);
  }
  bool string(string_t& v) override {
    if (options_.python_constants && v.size() == 1) {
      constexpr double kInfinity = std::numeric_limits<double>::infinity();
      if (v[0] == '\x01') return add(kInfinity);
      if (v[0] == '\x02') return add(-kInfinity);
      if (v[0] == '\x7f') return add(std::numeric_limits<double>::quiet_NaN());
    }
    return add(std::move(v));
  }
  bool binary(binary_t&) override { return refuse("binary value"); }
  bool key(string_t& v) override {
    tree_.set_key(std::move(v));
    return true;
  }
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override {
    refuse_duplicates(tree_.innermost_object());
    tree_.close();
    return true;
  }
  bool end_array() override {
    tree_.close();
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& e) override {
    throw_at(position == 0 ? 0 : position - 1, explanation(e));
  }

 private:
  [[noreturn]] void throw_at(uint64_t offset, std::string_view what) const {
    throw Error(options_.error_kind, fmt::format("{}: invalid JSON at byte {}: {}", where_, offset, what));
  }
  bool refuse(std::string_view what) const { throw_at(static_cast<uint64_t>(furthest_ - begin_), what); }

  bool add(Json v) {
    count();
    tree_.append(std::move(v));
    return true;
  }
  bool open(Json empty) {
    if (tree_.depth() >= static_cast<size_t>(options_.max_depth)) {
      refuse(fmt::format("nested deeper than {} levels", options_.max_depth));
    }
    count();
    tree_.open(std::move(empty));
    return true;
  }
  void count() const {
    if (tree_.n_values() >= options_.max_values) refuse(fmt::format("more than {} values", options_.max_values));
  }
  void refuse_duplicates(const Json::object_t& object) const {
    std::vector<std::string_view> keys;
    keys.reserve(object.size());
    for (const auto& item : object) keys.push_back(item.first);
    std::sort(keys.begin(), keys.end());
    const auto twin = std::adjacent_find(keys.begin(), keys.end());
    if (twin != keys.end()) refuse(fmt::format("duplicate key \"{}\"", twin->substr(0, 200)));
  }

  const char* begin_;
  const char* furthest_;
  std::string_view where_;
  const JsonOptions& options_;
  JsonTree tree_;
};

// Replaces Python's constants outside strings; anything else is left for the parser to judge.
std::string with_stand_ins(std::string_view text) {
  std::string out(text);
  bool in_string = false;
  const auto place = [&out](size_t at, std::string_view literal, std::string_view stand_in) {
    if (out.compare(at, literal.size(), literal) != 0) return false;
    out.replace(at, literal.size(), stand_in);
    return true;
  };
  for (size_t i = 0; i < out.size(); ++i) {
    const char c = out[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (place(i, "-Infinity", kMinusInfinityToken)) {
      i += kMinusInfinityToken.size() - 1;
    } else if (place(i, "Infinity", kInfinityToken)) {
      i += kInfinityToken.size() - 1;
    } else if (place(i, "NaN", kNanToken)) {
      i += kNanToken.size() - 1;
    }
  }
  return out;
}

}  // namespace

Json parse_json(std::string_view text, std::string_view where, const JsonOptions& options) {
  std::string replaced;
  if (options.python_constants &&
      (text.find("Infinity") != std::string_view::npos || text.find("NaN") != std::string_view::npos)) {
    replaced = with_stand_ins(text);
    text = replaced;
  }
  Builder builder(text, where, options);
  const char** furthest = builder.furthest();
  Json::sax_parse(CountingIterator(text.data(), furthest), CountingIterator(text.data() + text.size(), furthest),
                  &builder);
  return builder.take();
}

std::string dump_json(const Json& value, int indent) {
  return value.dump(indent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace stretto
