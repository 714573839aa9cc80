#include "text/pretokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>

#include "base/check.h"
#include "base/error.h"

namespace stretto {
namespace {

constexpr size_t kJitStackStartBytes = 64 * 1024;
constexpr size_t kJitStackMaxBytes = 4 * 1024 * 1024;

struct FreeCode {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct FreeMatchData {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};
struct FreeMatchContext {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};
struct FreeJitStack {
  void operator()(pcre2_jit_stack* stack) const { pcre2_jit_stack_free(stack); }
};

std::string pcre2_message(int code) {
  PCRE2_UCHAR buffer[256] = {};
  pcre2_get_error_message(code, buffer, sizeof(buffer));
  return reinterpret_cast<const char*>(buffer);
}

// Bytes of the code point at `at` of valid UTF-8.
size_t step(std::string_view text, size_t at) {
  size_t next = at + 1;
  while (next < text.size() && (static_cast<uint8_t>(text[next]) & 0xC0) == 0x80) ++next;
  return next - at;
}

}  // namespace

struct PreTokenizer::Pattern {
  std::unique_ptr<pcre2_code, FreeCode> code;
};

// Per-thread state of PCRE2. The patterns have no capturing groups: one pair of offsets is enough.
struct PreTokenizer::Matcher {
  std::unique_ptr<pcre2_match_data, FreeMatchData> data{pcre2_match_data_create(1, nullptr)};
  std::unique_ptr<pcre2_match_context, FreeMatchContext> context{pcre2_match_context_create(nullptr)};
  std::unique_ptr<pcre2_jit_stack, FreeJitStack> jit_stack{
      pcre2_jit_stack_create(kJitStackStartBytes, kJitStackMaxBytes, nullptr)};
  std::vector<Span> segments;

  Matcher() {
    if (data == nullptr || context == nullptr) fail(ErrorKind::kHostMemory, "no memory for the pre-tokenizer's state");
    // Without a stack of its own (creation can fail) JIT code uses 32 KiB of the machine stack.
    if (jit_stack != nullptr) pcre2_jit_stack_assign(context.get(), nullptr, jit_stack.get());
  }

  // Next match at or after `start`: PCRE2's return code, the range in the data block.
  int match(const pcre2_code* code, std::string_view subject, size_t start) {
    const auto* bytes = reinterpret_cast<PCRE2_SPTR>(subject.data());
    // The text has been sanitised once; checking it again in every call would be quadratic.
    int rc = pcre2_match(code, bytes, subject.size(), start, PCRE2_NO_UTF_CHECK, data.get(), context.get());
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {
      rc =
          pcre2_match(code, bytes, subject.size(), start, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, data.get(), context.get());
    }
    return rc;
  }
};

PreTokenizer::PreTokenizer(const std::vector<std::string>& patterns) {
  for (const std::string& text : patterns) {
    int error = 0;
    PCRE2_SIZE offset = 0;
    Pattern pattern;
    pattern.code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), PCRE2_UTF | PCRE2_UCP,
                                     &error, &offset, nullptr));
    if (pattern.code == nullptr) {
      fail(ErrorKind::kInternal, "pre-tokenizer pattern '{}': {} at offset {}", text, pcre2_message(error), offset);
    }
    // Where JIT is not available the interpreter gives the same matches.
    pcre2_jit_compile(pattern.code.get(), PCRE2_JIT_COMPLETE);
    patterns_.push_back(std::move(pattern));
  }
}

PreTokenizer::~PreTokenizer() = default;

void PreTokenizer::split_segment(const Pattern& pattern, Matcher& matcher, std::string_view text, Span segment,
                                 std::vector<Span>& out, std::vector<std::string>* warnings) const {
  const std::string_view subject = text.substr(segment.begin, segment.length);
  const auto emit = [&](size_t begin, size_t end) {
    if (begin < end) out.push_back({segment.begin + static_cast<uint32_t>(begin), static_cast<uint32_t>(end - begin)});
  };
  size_t done = 0;
  size_t start = 0;
  while (start < subject.size()) {
    const int rc = matcher.match(pattern.code.get(), subject, start);
    if (rc == PCRE2_ERROR_NOMATCH) break;
    if (rc < 0) {
      if (warnings != nullptr) {
        warnings->push_back(fmt::format("pre-tokenizer: {}; {} bytes are taken as one piece", pcre2_message(rc),
                                        subject.size() - done));
      }
      break;
    }
    const PCRE2_SIZE* range = pcre2_get_ovector_pointer(matcher.data.get());
    if (range[0] == range[1]) {  // an empty match cuts nothing
      start = range[1] < subject.size() ? range[1] + step(subject, range[1]) : subject.size();
      continue;
    }
    emit(done, range[0]);
    emit(range[0], range[1]);
    done = start = range[1];
  }
  emit(done, subject.size());
}

void PreTokenizer::split(std::string_view text, std::vector<Span>& pieces, std::vector<std::string>* warnings) const {
  CHECK(text.size() <= UINT32_MAX);
  pieces.clear();
  if (text.empty()) return;
  const auto matcher = matchers_.lease();
  pieces.push_back({0, static_cast<uint32_t>(text.size())});
  for (const Pattern& pattern : patterns_) {
    std::vector<Span>& segments = matcher->segments;
    segments.swap(pieces);
    pieces.clear();
    for (const Span segment : segments) split_segment(pattern, *matcher, text, segment, pieces, warnings);
  }
}

}  // namespace stretto
