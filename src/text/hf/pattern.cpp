#include "text/hf/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <optional>

#include "base/error.h"
#include "text/hf/regex_translation.h"

namespace stretto::hf {
namespace {

constexpr size_t kMaxTextBytes = size_t{1} << 30;
constexpr size_t kJitStackStartBytes = 64 * 1024;
constexpr size_t kJitStackMaxBytes = 4 * 1024 * 1024;
constexpr uint32_t kMatchLimit = 1'000'000;  // backtracking steps for one match
constexpr uint32_t kHeapLimitKib = 64 * 1024;

std::string pcre2_message(int code) {
  PCRE2_UCHAR buffer[256] = {};
  pcre2_get_error_message(code, buffer, sizeof(buffer));
  return reinterpret_cast<const char*>(buffer);
}

size_t next_character(std::string_view text, size_t at) {
  ++at;
  while (at < text.size() && (static_cast<uint8_t>(text[at]) & 0xC0) == 0x80) ++at;
  return at;
}

struct Found {
  size_t begin;
  size_t end;
};

// Walks over `text` with find_next(start) -> optional<Found>, the first match at or after `start`.
template <class FindNext>
void collect(std::string_view text, std::vector<MatchRange>& ranges, const FindNext& find_next) {
  size_t covered = 0;
  std::optional<size_t> last_end;
  for (size_t start = 0; start <= text.size();) {
    const std::optional<Found> found = find_next(start);
    if (!found) break;
    if (found->begin == found->end && last_end == found->end) {
      start = next_character(text, found->end);
      continue;
    }
    if (covered < found->begin) {
      ranges.push_back({static_cast<uint32_t>(covered), static_cast<uint32_t>(found->begin), false});
    }
    ranges.push_back({static_cast<uint32_t>(found->begin), static_cast<uint32_t>(found->end), true});
    covered = start = found->end;
    last_end = found->end;
  }
  if (covered < text.size()) {
    ranges.push_back({static_cast<uint32_t>(covered), static_cast<uint32_t>(text.size()), false});
  }
}

}  // namespace

void require_text_size(size_t bytes) {
  if (bytes > kMaxTextBytes) {
    fail(ErrorKind::kBadArgument, "the tokenizer's normalizer makes more than {} bytes of this text", kMaxTextBytes);
  }
}

struct Regex::Code {
  explicit Code(pcre2_code* compiled) : code(compiled) {}
  ~Code() { pcre2_code_free(code); }
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;
  pcre2_code* code;
};

// Per-thread state of PCRE2. Patterns capture nothing: one pair of offsets is enough.
struct Regex::Matcher {
  Matcher()
      : data(pcre2_match_data_create(1, nullptr)),
        context(pcre2_match_context_create(nullptr)),
        jit_stack(pcre2_jit_stack_create(kJitStackStartBytes, kJitStackMaxBytes, nullptr)) {
    if (data == nullptr || context == nullptr) {
      release();
      fail(ErrorKind::kHostMemory, "no memory for the pre-tokenizer's state");
    }
    pcre2_set_match_limit(context, kMatchLimit);
    pcre2_set_heap_limit(context, kHeapLimitKib);
    // Without a stack of its own (creation can fail) JIT code uses 32 KiB of the machine stack.
    if (jit_stack != nullptr) pcre2_jit_stack_assign(context, nullptr, jit_stack);
  }
  ~Matcher() { release(); }
  Matcher(const Matcher&) = delete;
  Matcher& operator=(const Matcher&) = delete;

  void release() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    pcre2_jit_stack_free(jit_stack);
  }

  // PCRE2's return code; the range is in the data block. The text is known to be valid UTF-8.
  int match(const pcre2_code* code, std::string_view text, size_t start) {
    const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    int rc = pcre2_match(code, subject, text.size(), start, PCRE2_NO_UTF_CHECK, data, context);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {
      rc = pcre2_match(code, subject, text.size(), start, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, data, context);
    }
    return rc;
  }

  pcre2_match_data* data;
  pcre2_match_context* context;
  pcre2_jit_stack* jit_stack;
};

Regex::Regex(const std::string& pcre2_pattern, std::string_view path) : path_(path) {
  const std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)> context(
      pcre2_compile_context_create(nullptr), &pcre2_compile_context_free);
  if (context == nullptr) fail(ErrorKind::kHostMemory, "no memory for a regular expression");
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);  // for . and ^
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pcre2_pattern.data()), pcre2_pattern.size(),
                                   PCRE2_UTF | PCRE2_UCP, &error, &offset, context.get());
  if (code == nullptr) {
    fail(ErrorKind::kUnsupported, "{}: PCRE2 does not take this regular expression: {}", path, pcre2_message(error));
  }
  code_ = std::make_unique<Code>(code);
  // Where JIT is not available the interpreter gives the same matches.
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
}

Regex::~Regex() = default;

void Regex::append_matches(std::string_view text, std::vector<MatchRange>& ranges, Warnings* warnings) const {
  const auto matcher = matchers_.lease();
  collect(text, ranges, [&](size_t start) -> std::optional<Found> {
    const int rc = matcher->match(code_->code, text, start);
    const PCRE2_SIZE* range = pcre2_get_ovector_pointer(matcher->data);
    // \K inside a look-around could make a range that runs backwards.
    if (rc >= 0 && range[0] >= start && range[0] <= range[1] && range[1] <= text.size()) {
      return Found{range[0], range[1]};
    }
    if (rc != PCRE2_ERROR_NOMATCH && warnings != nullptr) {
      warnings->push_back(fmt::format("{}: {}; {} bytes are taken as not matching", path_,
                                      rc >= 0 ? "a match that runs backwards" : pcre2_message(rc),
                                      text.size() - start));
    }
    return std::nullopt;
  });
}

Pattern Pattern::literal(std::string text) {
  Pattern pattern;
  pattern.literal_ = std::move(text);
  return pattern;
}

Pattern Pattern::regex(std::string_view oniguruma_pattern, std::string_view path) {
  Pattern pattern;
  pattern.regex_ = std::make_unique<Regex>(translate_regex(oniguruma_pattern, path), path);
  return pattern;
}

Pattern Pattern::read(Fields& fields, std::string_view key) {
  Fields pattern = fields.object(key);
  if (pattern.has("Regex")) return regex(pattern.text("Regex"), pattern.path_of("Regex"));
  std::string text = pattern.text("String");
  if (text.size() > kMaxPatternBytes) {
    fail(ErrorKind::kInvalidModel, "{} has {} bytes, at most {} are allowed", pattern.path_of("String"), text.size(),
         kMaxPatternBytes);
  }
  return literal(std::move(text));
}

void Pattern::find(std::string_view text, std::vector<MatchRange>& ranges, Warnings* warnings) const {
  ranges.clear();
  if (text.empty()) return;
  if (regex_ != nullptr) {
    regex_->append_matches(text, ranges, warnings);
    return;
  }
  collect(text, ranges, [&](size_t start) -> std::optional<Found> {
    const size_t at = text.find(literal_, start);
    return at == std::string_view::npos ? std::nullopt : std::optional(Found{at, at + literal_.size()});
  });
}

void Pattern::replace(std::string_view text, std::string_view content, std::string& out, Warnings* warnings) const {
  out.clear();
  std::vector<MatchRange> ranges;
  find(text, ranges, warnings);
  for (const MatchRange& range : ranges) {
    out += range.is_match ? content : text.substr(range.begin, range.end - range.begin);
    require_text_size(out.size());
  }
}

}  // namespace stretto::hf
