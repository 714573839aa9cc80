// Fills the special ids of a token table from the files beside the vocabulary.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "text/hf/post_processor.h"
#include "text/hf/side_files.h"
#include "text/token_table.h"

namespace stretto::hf {

class TableBuilder {
 public:
  // Both must outlive this object; the vocabulary of `table` is final.
  TableBuilder(const SideFiles& side, TokenTable& table) : side_(side), table_(table) {}

  void read_special_ids(const std::optional<int32_t>& model_unknown);
  void read_stop_ids();
  // Special tokens around a text: those of the file, with bos forced on or off.
  // Throws Error(kBadArgument) when bos is forced on and there is none.
  void place_bos(PostProcessor& post, std::optional<bool> add_bos);

 private:
  std::optional<int32_t> named(std::string_view name) const;
  std::optional<int32_t> checked(int64_t id, std::string_view where);

  const SideFiles& side_;
  TokenTable& table_;
};

}  // namespace stretto::hf
