#include "text/hf/post_processor.h"

#include "base/error.h"
#include "checkpoint/utf8.h"
#include "text/hf/normalizer.h"

namespace stretto::hf {
namespace {

constexpr size_t kMaxAround = 4096;

class PostReader {
 public:
  PostReader(const std::vector<bool>& is_token, Warnings& warnings) : is_token_(is_token), warnings_(warnings) {}

  void add(const Json& json, const std::string& path, int depth) {
    if (depth >= kMaxNesting) fail(ErrorKind::kInvalidModel, "{}: nested deeper than {} levels", path, kMaxNesting);
    if (++n_steps_ > kMaxSteps) fail(ErrorKind::kInvalidModel, "{}: more than {} steps", path, kMaxSteps);
    Fields fields(json, path);
    const std::string type = fields.text("type");
    if (type == "Sequence") {
      const Json& items = fields.array("processors");
      for (size_t i = 0; i < items.size(); ++i) add(items[i], fmt::format("{}.processors[{}]", path, i), depth + 1);
    } else if (type == "TemplateProcessing") {
      add_template(fields);
    } else if (type == "RobertaProcessing" || type == "BertProcessing") {
      wrap({named_id(fields, "cls")}, {named_id(fields, "sep")}, path);
      fields.find("trim_offsets");
      fields.find("add_prefix_space");
    } else if (type == "ByteLevel") {
      for (const char* key : {"add_prefix_space", "trim_offsets", "use_regex"}) fields.optional_flag(key);
    } else {
      fail(ErrorKind::kUnsupported, "{}.type is \"{}\", an unsupported post-processor", path, printable(type));
    }
    fields.report_unread(warnings_);
  }

  PostProcessor take() { return std::move(result_); }

 private:
  int32_t require_id(const Json& json, const std::string& path) const {
    if (!json.is_number_unsigned() || json.get<uint64_t>() >= is_token_.size() || !is_token_[json.get<uint64_t>()]) {
      refuse_value(path, json, "the id of a token");
    }
    return static_cast<int32_t>(json.get<uint64_t>());
  }

  // ["[CLS]", 101]
  int32_t named_id(Fields& fields, std::string_view key) const {
    const Json& pair = fields.array(key);
    if (pair.size() != 2 || !pair[0].is_string()) refuse_value(fields.path_of(key), pair, "[text, id]");
    return require_id(pair[1], fields.path_of(key) + "[1]");
  }

  void wrap(std::vector<int32_t> before, const std::vector<int32_t>& after, const std::string& path) {
    before.insert(before.end(), result_.prefix.begin(), result_.prefix.end());
    result_.prefix = std::move(before);
    result_.suffix.insert(result_.suffix.end(), after.begin(), after.end());
    if (result_.prefix.size() + result_.suffix.size() > kMaxAround) {
      fail(ErrorKind::kInvalidModel, "{}: more than {} special tokens around a text", path, kMaxAround);
    }
  }

  void add_template(Fields& fields) {
    Fields specials = fields.object("special_tokens");
    fields.find("pair");
    const Json& single = fields.array("single");
    if (single.size() > kMaxAround || specials.size() > kMaxAround) {
      fail(ErrorKind::kInvalidModel, "{}: a template of more than {} parts", fields.path(), kMaxAround);
    }
    std::vector<int32_t> before;
    std::vector<int32_t> after;
    bool behind_text = false;
    for (size_t i = 0; i < single.size(); ++i) {
      const std::string path = fmt::format("{}[{}]", fields.path_of("single"), i);
      Fields item(single[i], path);
      if (item.has("Sequence")) {
        const std::string id = item.object("Sequence").text("id");
        if (id != "A" || behind_text) {
          fail(ErrorKind::kInvalidModel, "{}: the sequence \"{}\", expected A once", path, printable(id));
        }
        behind_text = true;
        continue;
      }
      const std::string name = item.object("SpecialToken").text("id");
      append_special(specials, name, behind_text ? after : before);
    }
    if (!behind_text) fail(ErrorKind::kInvalidModel, "{} has no sequence A", fields.path_of("single"));
    wrap(std::move(before), after, fields.path());
  }

  void append_special(Fields& specials, const std::string& name, std::vector<int32_t>& ids) const {
    if (!specials.has(name)) {
      fail(ErrorKind::kInvalidModel, "{} does not define \"{}\"", specials.path(), printable(name));
    }
    Fields special = specials.object(name);
    const Json& list = special.array("ids");
    if (list.size() > kMaxAround || ids.size() > kMaxAround) {
      fail(ErrorKind::kInvalidModel, "{}: more than {} ids", special.path_of("ids"), kMaxAround);
    }
    for (size_t i = 0; i < list.size(); ++i) {
      ids.push_back(require_id(list[i], fmt::format("{}[{}]", special.path_of("ids"), i)));
    }
  }

  const std::vector<bool>& is_token_;
  Warnings& warnings_;
  int n_steps_ = 0;
  PostProcessor result_;
};

}  // namespace

PostProcessor read_post_processor(const Json& json, std::string_view path, const std::vector<bool>& is_token,
                                  Warnings& warnings) {
  PostReader reader(is_token, warnings);
  if (!json.is_null()) reader.add(json, std::string(path), 0);
  return reader.take();
}

}  // namespace stretto::hf
