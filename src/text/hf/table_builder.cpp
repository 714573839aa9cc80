#include "text/hf/table_builder.h"

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "checkpoint/utf8.h"

namespace stretto::hf {

void TableBuilder::read_special_ids(const std::optional<int32_t>& model_unknown) {
  SpecialIds& special = table_.special;
  special.bos = named("bos_token");
  special.eos = named("eos_token");
  special.padding = named("pad_token");
  special.unknown = named("unk_token");
  special.separator = named("sep_token");
  special.mask = named("mask_token");
  if (!special.unknown) special.unknown = model_unknown;
  if (!special.bos && side_.bos_id) special.bos = checked(*side_.bos_id, "config.json.bos_token_id");
}

void TableBuilder::read_stop_ids() {
  for (const int64_t id : side_.stop_ids) {
    if (const auto token = checked(id, side_.stop_source + ".eos_token_id")) table_.eog_ids.push_back(*token);
  }
  const std::vector<int32_t>& ids = table_.eog_ids;
  std::optional<int32_t>& eos = table_.special.eos;
  if (eos && !ids.empty() && std::find(ids.begin(), ids.end(), *eos) == ids.end()) {
    table_.warnings.push_back(
        fmt::format("the eos token '{}' (id {}) is not among the stop ids of {}: all of them "
                    "end generation",
                    printable(table_.vocabulary.text(*eos)), *eos, side_.stop_source));
  }
  if (!eos && !ids.empty()) eos = ids.front();
  for (const int64_t id : side_.suppressed) {
    if (table_.vocabulary.contains(id)) table_.suppressed.push_back(static_cast<int32_t>(id));
  }
}

void TableBuilder::place_bos(PostProcessor& post, std::optional<bool> add_bos) {
  SpecialIds& special = table_.special;
  if (!post.prefix.empty()) special.bos = post.prefix.front();
  if (add_bos == true && post.prefix.empty()) {
    if (!special.bos) fail(ErrorKind::kBadArgument, "--add-bos on: the model names no bos token");
    post.prefix.push_back(*special.bos);
  }
  if (add_bos == false && !post.prefix.empty()) post.prefix.erase(post.prefix.begin());
  if (!add_bos && post.prefix.empty() && side_.add_bos_flag == true && special.bos) {
    table_.warnings.push_back(
        fmt::format("tokenizer_config.json says add_bos_token, tokenizer.json adds no '{}': it is not added, "
                    "--add-bos on adds it",
                    printable(table_.vocabulary.text(*special.bos))));
  }
  table_.add_bos = !post.prefix.empty();
  if (post.suffix.empty()) return;
  if (!special.eos) special.eos = post.suffix.back();
  table_.add_eos = std::find(post.suffix.begin(), post.suffix.end(), *special.eos) != post.suffix.end();
}

std::optional<int32_t> TableBuilder::named(std::string_view name) const {
  const std::string* text = side_.text(name);
  const int32_t id = text == nullptr ? -1 : table_.vocabulary.find(*text);
  return id < 0 ? std::nullopt : std::optional(id);
}

std::optional<int32_t> TableBuilder::checked(int64_t id, std::string_view where) {
  if (table_.vocabulary.contains(id)) return static_cast<int32_t>(id);
  table_.warnings.push_back(
      fmt::format("{} = {} is outside the vocabulary of {} tokens and ignored", where, id, table_.vocabulary.size()));
  return std::nullopt;
}

}  // namespace stretto::hf
