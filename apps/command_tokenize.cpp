// stretto tokenize, stretto detokenize: text to ids and back, from the tokenizer files alone.

#include <fmt/ranges.h>

#include "base/error.h"
#include "base/json.h"
#include "model_flags.h"
#include "terminal.h"
#include "tokens_argument.h"

namespace stretto::app {
namespace {

struct TokenizeOptions {
  ModelFlags common;
  std::string text, file, tokens;
  bool parse_special = false, no_special = false, json = false, show_special = false;
};

std::unique_ptr<const Tokenizer> open_tokenizer(const TokenizeOptions& o) {
  const auto checkpoint = open_checkpoint(o.common.model, {.metadata_only = true});
  LoadedTokenizer loaded = load_tokenizer(*checkpoint, o.common.tokenizer, engine_log());
  if (!loaded.tokenizer) fail(ErrorKind::kUnsupported, "{}", loaded.missing_reason);
  return std::move(loaded.tokenizer);
}

void run_tokenize(const TokenizeOptions& o, bool has_text) {
  if (has_text == !o.file.empty())
    fail(ErrorKind::kBadArgument, "tokenize: give the text with -p TEXT or -f FILE (one of them)");
  const auto tokenizer = open_tokenizer(o);
  const std::string text = has_text ? o.text : read_file(o.file);
  std::vector<std::string> warnings;
  const std::vector<int32_t> ids =
      tokenizer->encode(text, {.add_special = !o.no_special, .parse_special = o.parse_special, .warnings = &warnings});
  for (const std::string& w : warnings) remark("warning: " + w);
  if (o.json) {
    print_out(dump_json(Json{{"tokens", ids}}) + "\n");
    return;
  }
  print_out(fmt::format("{}\n", fmt::join(ids, ",")));
}

void run_detokenize(const TokenizeOptions& o) {
  const auto tokenizer = open_tokenizer(o);
  const std::string text = tokenizer->decode(parse_tokens(o.tokens), o.show_special);
  print_out(o.json ? dump_json(Json{{"text", text}}) + "\n" : text);
}

}  // namespace

void add_tokenize(const Flags& app, int&) {
  auto o = std::make_shared<TokenizeOptions>();
  const Flags t = app.command("tokenize", "text to token ids");
  add_model_flags(t, o->common);
  const Flag text = t.add("-p,--prompt", o->text, "the text");
  t.add("-f,--file", o->file, "a file with the text (-: standard input)");
  t.add("--parse-special", o->parse_special, "special tokens written out in the text become those tokens");
  t.add("--no-special", o->no_special, "do not add bos / eos");
  add_tokenizer_flags(t, o->common);
  t.add("--json", o->json, "{\"tokens\": [...]} on stdout");
  t.run([o, text] {
    set_quiet(o->common.quiet);
    run_tokenize(*o, text.given());
  });

  const Flags d = app.command("detokenize", "token ids to text");
  add_model_flags(d, o->common);
  d.add("--tokens", o->tokens, "ids 1,2,3 or @FILE").required();
  add_tokenizer_flags(d, o->common);
  d.add("--show-special", o->show_special, "print special tokens too");
  d.add("--json", o->json, "{\"text\": ...} on stdout");
  d.run([o] {
    set_quiet(o->common.quiet);
    run_detokenize(*o);
  });
}

}  // namespace stretto::app
