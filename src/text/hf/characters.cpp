#include "text/hf/characters.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/check.h"
#include "text/hf/code_point_ranges.h"
#include "text/utf8.h"

namespace stretto::hf {
namespace {

// "\x{1C89}-\x{1C8A}\x{897}" as ranges, ascending.
std::vector<Range> parse_ranges(std::string_view text) {
  std::vector<Range> ranges;
  size_t at = 0;
  const auto code_point = [&] {
    CHECK(text.substr(at, 3) == "\\x{");
    char32_t c = 0;
    for (at += 3; text[at] != '}'; ++at) {
      const char digit = text[at];
      c = c * 16 + static_cast<char32_t>(digit <= '9' ? digit - '0' : digit - 'A' + 10);
    }
    ++at;
    return c;
  };
  while (at < text.size()) {
    const char32_t first = code_point();
    char32_t last = first;
    if (at < text.size() && text[at] == '-') {
      ++at;
      last = code_point();
    }
    ranges.push_back({first, last});
  }
  return ranges;
}

// One flag set per code point, so that a test is one load: added tokens and Strip look at every character.
enum Flag : uint8_t { kWord = 1, kNumeric = 2, kPunctuation = 4 };

constexpr char32_t kCodePoints = 0x110000;

// Numbers of Unicode 17, which Digits knows.
constexpr Range kNewNumbers[] = {{0x11DE0, 0x11DE9}, {0x16FF4, 0x16FF6}};

// Circled letters (category So) and the joiners count as parts of words.
constexpr Range kOtherWord[] = {
    {0x200C, 0x200D}, {0x24B6, 0x24E9}, {0x1F130, 0x1F149}, {0x1F150, 0x1F169}, {0x1F170, 0x1F189}};

// Not yet in the Punctuation table of the library ...
constexpr Range kNewPunctuation[] = {{0x61D, 0x61D},     {0x9FD, 0x9FD},     {0xA76, 0xA76},     {0xC77, 0xC77},
                                     {0xC84, 0xC84},     {0x1B7D, 0x1B7E},   {0x2E43, 0x2E4F},   {0x2E52, 0x2E5D},
                                     {0x10EAD, 0x10EAD}, {0x10F55, 0x10F59}, {0x10F86, 0x10F89}, {0x1144B, 0x1144F},
                                     {0x1145A, 0x1145B}, {0x1145D, 0x1145D}, {0x11660, 0x1166C}, {0x116B9, 0x116B9},
                                     {0x1183B, 0x1183B}, {0x11944, 0x11946}, {0x119E2, 0x119E2}, {0x11A3F, 0x11A46},
                                     {0x11A9A, 0x11A9C}, {0x11A9E, 0x11AA2}, {0x11B00, 0x11B09}, {0x11C41, 0x11C45},
                                     {0x11C70, 0x11C71}, {0x11EF7, 0x11EF8}, {0x11F43, 0x11F4F}, {0x11FFF, 0x11FFF},
                                     {0x12FF1, 0x12FF2}, {0x16E97, 0x16E9A}, {0x16FE2, 0x16FE2}, {0x1E95E, 0x1E95F}};
// ... and what was punctuation then.
constexpr Range kOldPunctuation[] = {{0x166D, 0x166D}, {0x111C9, 0x111C9}};

bool is_ascii_punctuation(char32_t c) {
  return (c >= 0x21 && c <= 0x2F) || (c >= 0x3A && c <= 0x40) || (c >= 0x5B && c <= 0x60) || (c >= 0x7B && c <= 0x7E);
}

uint8_t flags_of(char32_t c) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
      return kWord;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
      return kWord | kNumeric;
    case UTF8PROC_CATEGORY_NO:
      return kNumeric;
    case UTF8PROC_CATEGORY_PC:
      return kWord | kPunctuation;
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO:
      return contains(kNewPunctuation, c) ? 0 : kPunctuation;
    default:
      return 0;
  }
}

std::vector<uint8_t> make_flags() {
  std::vector<uint8_t> flags(kCodePoints);
  for (char32_t c = 0; c < kCodePoints; ++c) flags[c] = flags_of(c);
  const auto add = [&flags](const auto& ranges, int bits) {
    for (const Range& range : ranges) {
      for (char32_t c = range.first; c <= range.last; ++c) flags[c] |= static_cast<uint8_t>(bits);
    }
  };
  add(parse_ranges(*added_to_property("L")), kWord);
  add(parse_ranges(*added_to_property("Nd")), kWord);
  add(parse_ranges(*added_to_property("M")), kWord);
  add(parse_ranges(*added_to_property("N")), kNumeric);
  add(kNewNumbers, kNumeric);
  add(kOtherWord, kWord);
  add(kOldPunctuation, kPunctuation);
  for (char32_t c = 0; c < 0x80; ++c) {
    if (is_ascii_punctuation(c)) flags[c] |= kPunctuation;
  }
  return flags;
}

bool has_flag(char32_t c, Flag flag) {
  static const std::vector<uint8_t> kFlags = make_flags();
  return c < kCodePoints && (kFlags[c] & flag) != 0;
}

// Letters with a lower-case form that utf8proc 2.8 does not know (Unicode 16 and 17).
struct LowerRange {
  char32_t first;
  char32_t last;
  char32_t first_lower;
};
constexpr LowerRange kNewLower[] = {{0x1C89, 0x1C89, 0x1C8A},   {0xA7CB, 0xA7CB, 0x264},  {0xA7CC, 0xA7CC, 0xA7CD},
                                    {0xA7CE, 0xA7CE, 0xA7CF},   {0xA7D2, 0xA7D2, 0xA7D3}, {0xA7D4, 0xA7D4, 0xA7D5},
                                    {0xA7DA, 0xA7DA, 0xA7DB},   {0xA7DC, 0xA7DC, 0x19B},  {0x10D50, 0x10D65, 0x10D70},
                                    {0x16EA0, 0x16EB8, 0x16EBB}};

}  // namespace

bool is_white_space(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= '\t' && c <= '\r');
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
         c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_numeric(char32_t c) { return has_flag(c, kNumeric); }
bool is_punctuation(char32_t c) { return has_flag(c, kPunctuation); }
bool is_word(char32_t c) { return has_flag(c, kWord); }

bool has_case(char32_t c) {
  const auto code_point = static_cast<utf8proc_int32_t>(c);
  switch (utf8proc_category(code_point)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CN:
      return true;
    default:
      return utf8proc_tolower(code_point) != code_point || utf8proc_toupper(code_point) != code_point;
  }
}

void append_lower(std::string& out, char32_t c) {
  if (c == 0x130) {
    out += "i\xCC\x87";
    return;
  }
  for (const LowerRange& range : kNewLower) {
    if (c < range.first || c > range.last) continue;
    append_utf8(out, range.first_lower + (c - range.first));
    return;
  }
  append_utf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
}

}  // namespace stretto::hf
