// stretto template: a conversation rendered by a chat template, exactly as the model would see it.

#include "base/error.h"
#include "base/json.h"
#include "chat_prompt.h"
#include "jinja/jinja.h"
#include "model_flags.h"
#include "terminal.h"
#include "tokens_argument.h"

namespace stretto::app {
namespace {

struct TemplateOptions {
  ModelFlags common;
  std::string messages, tools, template_file, kwargs;
  bool no_generation_prompt = false;
};

Json read_json(const std::string& path) {
  JsonOptions options;
  options.error_kind = ErrorKind::kBadArgument;
  return parse_json(read_file(path), path, options);
}

// {"messages": [...]} is accepted for [...], so that whole requests can be given.
Json list_in(Json value, const char* key, const std::string& path) {
  if (value.is_object() && value.contains(key)) value = value[key];
  if (!value.is_array()) fail(ErrorKind::kBadArgument, "{}: wanted a JSON array of {}", path, key);
  return value;
}

void run_template(const TemplateOptions& o) {
  const auto checkpoint = open_checkpoint(o.common.model, {.metadata_only = true});
  const LoadedTokenizer loaded = load_tokenizer(*checkpoint, o.common.tokenizer, engine_log());
  jinja::ChatRequest request;
  request.messages = list_in(read_json(o.messages), "messages", o.messages);
  if (!o.tools.empty()) request.tools = list_in(read_json(o.tools), "tools", o.tools);
  if (!o.kwargs.empty()) {
    JsonOptions options;
    options.error_kind = ErrorKind::kBadArgument;
    request.kwargs = parse_json(o.kwargs, "--chat-template-kwargs", options);
  }
  request.add_generation_prompt = !o.no_generation_prompt;
  std::optional<std::string> source;
  if (loaded.tokenizer) {
    set_special_texts(*loaded.tokenizer, request);
    source = loaded.tokenizer->chat_template(!request.tools.empty());
  }
  if (!o.template_file.empty()) source = read_file(o.template_file);
  if (!source) {
    fail(ErrorKind::kUnsupported, "{}: no chat template in this model; give one with --template FILE.jinja",
         checkpoint->path().string());
  }
  const std::string name = o.template_file.empty() ? "chat template" : o.template_file;
  print_out(jinja::render_chat(jinja::Template::parse(*source, name), request));
}

}  // namespace

void add_template(const Flags& app, int&) {
  auto o = std::make_shared<TemplateOptions>();
  const Flags c = app.command("template", "render a conversation with the model's chat template");
  add_model_flags(c, o->common);
  c.add("--messages", o->messages, "a JSON file: the list of messages (-: standard input)").required();
  c.add("--tools", o->tools, "a JSON file: the list of tools");
  c.add("--template,--chat-template-file", o->template_file, "a Jinja template in place of the model's own");
  c.add("--chat-template-kwargs", o->kwargs, "further template variables as a JSON object");
  c.add("--no-generation-prompt", o->no_generation_prompt, "end after the last message");
  c.run([o] {
    set_quiet(o->common.quiet);
    run_template(*o);
  });
}

}  // namespace stretto::app
