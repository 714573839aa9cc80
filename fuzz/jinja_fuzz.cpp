// Any text as a chat template over a small conversation, with tight limits.
#include "jinja/jinja.h"

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"

namespace {

const nlohmann::ordered_json& context() {
  static const auto value = nlohmann::ordered_json::parse(R"({
    "messages": [{"role": "system", "content": "S\n"}, {"role": "user", "content": [{"type": "text", "text": "é"}]},
                 {"role": "assistant", "content": null, "tool_calls": [{"id": "c1", "type": "function",
                  "function": {"name": "f", "arguments": {"a": 1.5, "b": [true, null, -7]}}}]}],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}],
    "add_generation_prompt": true, "bos_token": "<s>", "eos_token": "</s>"})");
  return value;
}

stretto::jinja::RenderOptions tight() {
  stretto::jinja::RenderOptions options;
  options.limits.max_output_bytes = 1 << 18;
  options.limits.max_memory_bytes = 1 << 23;
  options.limits.max_steps = 200'000;
  options.limits.max_range = 1000;
  options.limits.max_repetition = 10'000;
  options.now = [] { return std::tm{}; };
  return options;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace stretto;
  static const jinja::RenderOptions options = tight();
  const std::string_view source(reinterpret_cast<const char*>(data), size);
  try {
    const jinja::Template parsed = jinja::Template::parse(source, "fuzz");
    try {
      const std::string output = parsed.render(context(), options);
      CHECK(output.size() <= options.limits.max_output_bytes);
      CHECK(output == parsed.render(context(), options));
    } catch (const jinja::TemplateError& e) {
      CHECK(e.kind() == ErrorKind::kBadArgument);
    }
  } catch (const jinja::TemplateError& e) {
    CHECK(e.kind() == ErrorKind::kInvalidModel);
    CHECK(e.line() >= 1 && e.column() >= 1);
  }
  return 0;
}
