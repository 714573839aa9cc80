// Steps that look at the tokens so far: repetition penalties and DRY.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/sampling_params.h"
#include "text/tokenizer.h"

namespace stretto {

// Token sequences that end a repetition for DRY: a head token and the tails that may follow it (empty: the head alone).
using DryBreakers = std::unordered_map<int32_t, std::vector<std::vector<int32_t>>>;

// Breaker strings (cut to 40 bytes) as token sequences: each token whose text holds the string stands alone; each token
// that ends in a proper prefix of it is a head, its tail the tokens of the rest (at most 20).
DryBreakers make_dry_breakers(const Tokenizer& tokenizer, const std::vector<std::string>& strings);

// For each token seen `n` times among the last repeat_last_n: l <- l > 0 ? l / r : l * r, then l <- l - n f - s.
void apply_penalties(const SamplingParams& params, std::span<const int32_t> history, std::span<float> logits);

// Lowers what would extend a repetition of the recent past by multiplier * base^(length - allowed_length).
void apply_dry(const SamplingParams& params, const DryBreakers& breakers, std::span<const int32_t> history,
               std::span<float> logits);

}  // namespace stretto
