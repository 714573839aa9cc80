#include "jinja/number_text.h"

#include <charconv>
#include <limits>
#include <string>

#include "jinja/runtime.h"
#include "jinja/unicode.h"

namespace stretto::jinja {
namespace {

// Removes single underscores between digits; nullopt if there are others.
std::optional<std::string> without_underscores(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      out += text[i];
      continue;
    }
    const auto is_digit_at = [text](size_t at) {
      return at < text.size() && std::isalnum(static_cast<unsigned char>(text[at]));
    };
    if (i == 0 || !is_digit_at(i - 1) || !is_digit_at(i + 1)) return std::nullopt;
  }
  return out;
}

int prefix_base(std::string_view digits) {
  if (digits.size() < 2 || digits[0] != '0') return 0;
  const char letter = static_cast<char>(digits[1] | 0x20);
  return letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 0;
}

bool take_sign(std::string_view& text) {
  const bool is_negative = !text.empty() && text[0] == '-';
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  return is_negative;
}

}  // namespace

std::optional<Int> parse_integer(std::string_view text, int base) {
  text = strip(text, true, true);
  const bool is_negative = take_sign(text);
  if (const int prefix = prefix_base(text); prefix != 0 && (base == prefix || base == 0)) {
    base = prefix;
    text.remove_prefix(2);
    if (!text.empty() && text[0] == '_') text.remove_prefix(1);
  } else if (base == 0) {
    base = 10;
    if (text.size() > 1 && text[0] == '0' && text.find_first_not_of("0_") != std::string_view::npos)
      return std::nullopt;
  }
  const auto digits = without_underscores(text);
  if (!digits || digits->empty()) return std::nullopt;
  uint64_t value = 0;
  const auto parsed = std::from_chars(digits->data(), digits->data() + digits->size(), value, base);
  if (parsed.ptr != digits->data() + digits->size()) return std::nullopt;
  if (parsed.ec == std::errc::result_out_of_range) render_fail("the integer {} is outside 64 bits", text.substr(0, 40));
  return is_negative ? -Int(value) : Int(value);
}

std::optional<double> parse_float(std::string_view text) {
  text = strip(text, true, true);
  const bool is_negative = take_sign(text);
  const auto digits = without_underscores(text);
  if (!digits || digits->empty() || (*digits)[0] == '-' || (*digits)[0] == '+') return std::nullopt;
  const std::string lower = to_lower(*digits);
  double value = 0;
  if (lower == "inf" || lower == "infinity") {
    value = std::numeric_limits<double>::infinity();
  } else if (lower == "nan") {
    value = std::numeric_limits<double>::quiet_NaN();
  } else if (lower[0] != '.' && (lower[0] < '0' || lower[0] > '9')) {
    return std::nullopt;
  } else {
    const auto parsed = std::from_chars(lower.data(), lower.data() + lower.size(), value);
    if (parsed.ptr != lower.data() + lower.size() || parsed.ec == std::errc::invalid_argument) return std::nullopt;
    const bool is_small = lower.find("e-") != std::string::npos || lower[0] == '.' || lower.rfind("0.", 0) == 0;
    if (parsed.ec == std::errc::result_out_of_range) value = is_small ? 0 : std::numeric_limits<double>::infinity();
  }
  return is_negative ? -value : value;
}

}  // namespace stretto::jinja
