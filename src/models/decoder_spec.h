// What a decoder-only transformer is made of; an architecture file fills it, the blocks build the program from it.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/tensor.h"
#include "ops/gated_act.h"
#include "ops/rope.h"

namespace stretto {

struct MoeSpec {
  uint64_t n_experts = 0;  // 0: dense
  uint64_t top_k = 0;
  uint64_t d_ff = 0;  // per expert
  bool renormalise = true;
  float weight_scale = 1;
};

// Layers whose FFN is a swap module (docs/swap-ffn.md).
struct SwapSpec {
  std::vector<uint64_t> layers;  // ascending; empty: none
  uint64_t n_banks = 0;
  uint64_t n_events = 0;
  uint64_t k_ffn = 0;       // FFN steps per event
  bool token_local = true;  // memory is empty at every token, else carried along the sequence
};

// For tests of swap layers: see SwapHooks in ops/swap_streams.h.
struct SwapRecording {
  bool trace = false;      // the program's result is the recording of each position, not logits
  TensorView forced = {};  // F32 [positions, columns]: take the decisions from here; must outlive the model
};

struct DecoderSpec {
  uint64_t n_layers = 0;
  uint64_t d_model = 0;
  uint64_t n_heads = 0;
  uint64_t n_kv_heads = 0;
  uint64_t head_dim = 0;
  uint64_t d_ff = 0;
  uint64_t vocab_size = 0;
  uint64_t context_length = 0;  // positions the model was made for
  uint64_t window = 0;          // sliding window of every layer; 0: full attention
  float rms_eps = 0;
  float attn_scale = 0;  // of q.k
  bool tied = false;     // the head is the embedding
  bool qk_norm = false;  // RMS norm of each q and k head before RoPE
  Activation act = Activation::kSilu;
  MoeSpec moe;
  SwapSpec swap;
  std::shared_ptr<const RopeTable> rope;
  // GGUF files of this architecture store q and k rows for interleaved rotary pairs (see RowOrder).
  bool gguf_interleaved_pairs = false;
};

class ModelReader;

// What a Hugging Face class assumes where config.json is silent.
struct HfDefaults {
  uint64_t head_dim = 0;    // 0: d_model / n_heads
  uint64_t n_kv_heads = 0;  // 0: n_heads
  double rms_eps = 1e-6;
};

// Reads everything that Llama-like decoders share, from either container: sizes, RoPE, tied head, vocabulary.
// Errors: kInvalidModel for missing keys and sizes that do not fit together; kUnsupported for options outside this.
DecoderSpec read_decoder_spec(ModelReader& reader, const HfDefaults& defaults = {});

// Adds the mixture-of-experts keys (Qwen3-MoE naming).
MoeSpec read_moe_spec(ModelReader& reader, const DecoderSpec& spec);

}  // namespace stretto
