// A sandboxed interpreter for the part of Jinja2 3.1 that chat templates use, with trim_blocks and lstrip_blocks on and
// autoescape off: the same text byte for byte. Templates come with downloaded models, so they are untrusted: they see
// only the values of the context, and steps, memory, depth and output are bounded.
//
// Differences from Python, all towards refusing or towards more: integers stay within [-2^63, 2^64); filters and dict
// methods that give generators or views there give lists here; values nested deeper than a limit are refused.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <ctime>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/error.h"

namespace stretto::jinja {

// A template that cannot be parsed (kInvalidModel) or rendered (kBadArgument; raise_exception included).
class TemplateError : public Error {
 public:
  // what() is "<name>:<line>:<column>: <detail>".
  TemplateError(ErrorKind kind, std::string_view name, uint32_t line, uint32_t column, const std::string& detail);
  uint32_t line() const { return line_; }      // from 1
  uint32_t column() const { return column_; }  // from 1, in code points
  // The message alone; for raise_exception(text) exactly that text.
  const std::string& detail() const { return detail_; }

 private:
  uint32_t line_;
  uint32_t column_;
  std::string detail_;
};

// What one rendering may use; beyond it the rendering fails with TemplateError.
struct Limits {
  uint64_t max_output_bytes = 64ull << 20;
  uint64_t max_memory_bytes = 512ull << 20;  // strings, lists and dicts alive at one time
  uint64_t max_steps = 100'000'000;          // nodes evaluated, items visited, every 16 bytes of text produced
  uint32_t max_macro_depth = 200;            // macros, call blocks and recursive loops inside each other
  uint32_t max_depth = 2000;                 // statements and expressions inside each other, through macros
  uint32_t max_value_depth = 100;            // lists and dicts inside each other when printed, compared or converted
  uint64_t max_range = 100'000;              // items of one range()
  uint64_t max_repetition = 1'000'000;       // items or bytes of one `sequence * count`
};

struct RenderOptions {
  Limits limits;
  // The local time for strftime_now; empty: the clock and zone of this machine.
  std::function<std::tm()> now;
};

struct Program;

// A parsed template. Immutable and cheap to copy; one template may be rendered by several threads at once.
class Template {
 public:
  // `source` is UTF-8, at most 1 MiB; `name` stands in messages. Throws TemplateError.
  static Template parse(std::string_view source, std::string_view name = "chat template");

  // `context` is an object: the variables. Throws TemplateError.
  std::string render(const nlohmann::ordered_json& context, const RenderOptions& options = {}) const;

  // The text with line ends as \n.
  const std::string& source() const;
  const std::string& name() const;

 private:
  explicit Template(std::shared_ptr<const Program> program) : program_(std::move(program)) {}
  std::shared_ptr<const Program> program_;
};

}  // namespace stretto::jinja
