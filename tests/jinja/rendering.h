// Rendering in tests: templates with a small context, and tables of templates with their outputs. The expected outputs
// are those of Python's Jinja2 3.1 with the settings of jinja/jinja.h.
#pragma once

#include <gtest/gtest.h>

#include <initializer_list>
#include <string>
#include <utility>

#include "jinja/jinja.h"

namespace stretto::jinja {

using nlohmann::ordered_json;

inline const ordered_json& small_context() {
  static const ordered_json context = ordered_json::parse(R"({
    "user": {"name": "Ann", "tags": ["x", "y"], "age": 3, "items": 7},
    "msgs": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": null, "tool_calls": [{"id": "1"}]},
             {"role": "User", "content": "Zz"}],
    "flag": true, "nothing": null, "s": "  Héllo\n", "n": 5, "f": 2.5, "l": [3, 1, 2], "d": {"b": 1, "a": 2, "C": 3},
    "words": ["pear", "Apple", "fig", "apple"], "nested": [[1, 2], [3, [4]]], "big": 18446744073709551615})");
  return context;
}

// 2026-01-02 03:04:05, a Friday.
inline RenderOptions fixed_time() {
  RenderOptions options;
  options.now = [] {
    std::tm t{};
    t.tm_year = 126;
    t.tm_mday = 2;
    t.tm_hour = 3;
    t.tm_min = 4;
    t.tm_sec = 5;
    t.tm_wday = 5;
    t.tm_yday = 1;
    return t;
  };
  return options;
}

inline std::string render(const std::string& source, const ordered_json& context = small_context(),
                          const RenderOptions& options = fixed_time()) {
  return Template::parse(source).render(context, options);
}

using Table = std::initializer_list<std::pair<const char*, const char*>>;

inline void expect_outputs(Table table) {
  for (const auto& [source, output] : table) {
    try {
      EXPECT_EQ(render(source), output) << source;
    } catch (const Error& e) {
      ADD_FAILURE() << source << "\n" << e.what();
    }
  }
}

// The message without name and place of a template that fails with `kind`; "" and a test failure if it does not fail.
inline std::string failure(const std::string& source, ErrorKind kind, const RenderOptions& options = fixed_time()) {
  try {
    const std::string output = render(source, small_context(), options);
    ADD_FAILURE() << source.substr(0, 200) << "\nrenders as " << output.substr(0, 200);
  } catch (const TemplateError& e) {
    EXPECT_EQ(e.kind(), kind) << source.substr(0, 200) << "\n" << e.what();
    return e.detail();
  }
  return "";
}

// Parses, and fails when rendered.
inline void expect_render_errors(std::initializer_list<const char*> sources) {
  for (const char* source : sources) {
    EXPECT_NO_THROW(Template::parse(source)) << source;
    EXPECT_NE(failure(source, ErrorKind::kBadArgument), "") << source;
  }
}

inline void expect_syntax_errors(std::initializer_list<const char*> sources) {
  for (const char* source : sources) EXPECT_NE(failure(source, ErrorKind::kInvalidModel), "") << source;
}

}  // namespace stretto::jinja
