// The four Unicode normalization forms.
#pragma once

#include <string>
#include <string_view>

namespace stretto::hf {

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };

// Replaces `out` by `text` (valid UTF-8) in normal form, O(n log n). Throws Error(kBadArgument) above 1 GiB.
void to_normal_form(NormalForm form, std::string_view text, std::string& out);

}  // namespace stretto::hf
