// Any bytes as config.json: the strict JSON reader and the flattening to metadata.
#include "base/json.h"
#include "checkpoint/huggingface.h"
#include "fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace stretto;
  const std::string_view text = fuzz::as_text(data, size);
  fuzz::expect_answer([=] { fuzz::check_metadata(flatten_config(text, "fuzz")); });
  fuzz::expect_answer([=] {
    const Json value = parse_json(text, "fuzz");
    CHECK(parse_json(dump_json(value), "again") == value);
  });
  return 0;
}
