// stretto inspect: what is in a checkpoint: metadata and tensors, nothing loaded.

#include "base/error.h"
#include "base/json.h"
#include "model_flags.h"
#include "program/print.h"
#include "terminal.h"

namespace stretto::app {
namespace {

struct InspectOptions {
  ModelFlags common;
  bool json = false;
};

Json json_value(const MetaValue& value) {
  return std::visit(
      []<class T>(const T& v) -> Json {
        if constexpr (std::is_same_v<T, std::monostate>) {
          return nullptr;
        } else {
          return Json(v);
        }
      },
      value.data);
}

std::vector<uint64_t> dims(const Shape& shape) {
  std::vector<uint64_t> out;
  for (int i = 0; i < shape.rank(); ++i) out.push_back(shape[i]);
  return out;
}

void print_json(const Checkpoint& c) {
  Json metadata = Json::object(), tensors = Json::array();
  for (const Metadata::Entry& e : c.metadata().entries()) metadata[e.key] = json_value(e.value);
  for (const StoredTensor& t : c.tensors()) {
    tensors.push_back({{"name", t.name},
                       {"type", std::string(name(t.view.type))},
                       {"shape", dims(t.view.shape)},
                       {"bytes", t.view.bytes.size()}});
  }
  print_out(dump_json(Json{{"metadata", metadata}, {"tensors", tensors}}, 1) + "\n");
}

void print_text(const Checkpoint& c) {
  std::string out = fmt::format("{} ({})\n\n", c.path().string(),
                                c.container() == Container::kGguf ? "GGUF" : "Hugging Face directory");
  out += fmt::format("metadata, {} keys\n", c.metadata().entries().size());
  for (const Metadata::Entry& e : c.metadata().entries()) out += fmt::format("  {:<44} {}\n", e.key, describe(e.value));
  out += fmt::format("\ntensors, {} of {}\n", c.tensors().size(), human_bytes(c.tensor_bytes()));
  for (const StoredTensor& t : c.tensors()) {
    out += fmt::format("  {:<52} {:<8} {:<24} {:>10}\n", t.name, name(t.view.type), t.view.shape.str(),
                       human_bytes(t.view.bytes.size()));
  }
  print_out(out);
}

}  // namespace

void add_inspect(const Flags& app, int&) {
  auto o = std::make_shared<InspectOptions>();
  const Flags c = app.command("inspect", "metadata and tensors of a checkpoint");
  add_model_flags(c, o->common);
  c.add("--json", o->json, "everything as JSON on stdout");
  c.run([o] {
    set_quiet(o->common.quiet);
    const auto checkpoint = open_checkpoint(o->common.model);
    o->json ? print_json(*checkpoint) : print_text(*checkpoint);
  });
}

}  // namespace stretto::app
