// stretto chat: a conversation on the terminal (or through a pipe, one message per line).

#include <fstream>

#include "base/error.h"
#include "chat_prompt.h"
#include "checkpoint/hub_cache.h"
#include "conversation.h"
#include "line_input.h"
#include "model_flags.h"
#include "sampling_flags.h"
#include "terminal.h"
#include "tokens_argument.h"

namespace stretto::app {
namespace {

struct ChatFlags {
  ModelFlags common;
  SamplingFlags sampling;
  std::string system, first;
  int64_t n_predict = -1;
  std::vector<std::string> stops;
  bool single_turn = false, ignore_eos = false;
};

constexpr const char* kHelp =
    "/help             this list\n"
    "/clear            forget the conversation (the system message stays)\n"
    "/undo             take back the last question and its answer\n"
    "/regen            another answer to the last question\n"
    "/system TEXT      a new system message (empty: none)\n"
    "/save FILE        write the conversation as JSON\n"
    "/load FILE        continue a saved one\n"
    "/stats            context used\n"
    "/exit             leave (also Ctrl-D)\n"
    "A line ending in \\ goes on in the next; \"\"\" begins and ends a message of several lines. Ctrl-C stops an "
    "answer.\n";

std::string history_path() {
  const auto state = process_environment("XDG_STATE_HOME"), home = process_environment("HOME");
  if (state && !state->empty()) return *state + "/stretto/history";
  return home && !home->empty() ? *home + "/.local/state/stretto/history" : std::string();
}

class Chat {
 public:
  Chat(Conversation conversation, GenerateParams params, bool terminal)
      : conversation_(std::move(conversation)), params_(std::move(params)), terminal_(terminal) {}

  // One message or /command. False: leave.
  bool handle(const std::string& message) {
    if (message.empty()) return true;
    try {
      if (message.starts_with("/")) return command(message);
      say([&](const GenerateHooks& h, uint64_t* cached) { return conversation_.ask(message, params_, h, cached); });
    } catch (const Error& e) {
      if (!terminal_) throw;
      end_progress();
      std::fprintf(stderr, "error: %s\n", e.what());
    }
    return true;
  }

 private:
  template <class F>
  void say(const F& generate) {
    clear_interrupt();
    GenerateHooks hooks;
    hooks.cancel = &interrupted();
    hooks.on_text = [](std::string_view text) { print_out(text); };
    hooks.on_prefill = [](uint64_t done, uint64_t total) { progress("reading", done, total); };
    uint64_t cached = 0;
    const Generation g = generate(hooks, &cached);
    if (!g.text.ends_with("\n")) print_out("\n");
    const Timings& t = g.timings;
    remark(
        fmt::format("[{} cached + {} new prompt tokens, first token after {:.0f} ms, {} tokens at {:.1f} tokens/s, "
                    "chosen on the {}{}]",
                    cached, t.prompt_n, t.first_token_ms, t.predicted_n,
                    t.predicted_ms > 0 ? static_cast<double>(t.predicted_n) * 1e3 / t.predicted_ms : 0.0, g.sampling,
                    g.finish == FinishReason::kCancelled ? ", stopped" : ""));
    clear_interrupt();
  }

  bool command(const std::string& line) {
    const size_t blank = line.find(' ');
    const std::string name = line.substr(0, blank), rest = blank == std::string::npos ? "" : line.substr(blank + 1);
    if (name == "/exit" || name == "/quit" || name == "/bye") return false;
    if (name == "/help" || name == "/?") {
      std::fputs(kHelp, stderr);
    } else if (name == "/clear" || name == "/reset") {
      conversation_.clear();
    } else if (name == "/undo") {
      if (!conversation_.undo()) remark("nothing to take back");
    } else if (name == "/regen" || name == "/retry") {
      say([&](const GenerateHooks& h, uint64_t* cached) { return conversation_.regenerate(params_, h, cached); });
    } else if (name == "/system") {
      conversation_.set_system(rest);
    } else if (name == "/save") {
      save(rest);
    } else if (name == "/load") {
      JsonOptions options;
      options.error_kind = ErrorKind::kBadArgument;
      conversation_.set_messages(parse_json(read_file(rest), rest, options));
      remark(fmt::format("{} messages loaded", conversation_.messages().size()));
    } else if (name == "/stats") {
      remark(fmt::format("{} messages, {} of {} tokens of context used", conversation_.messages().size(),
                         conversation_.tokens_in_context(), conversation_.context()));
    } else {
      fail(ErrorKind::kBadArgument, "unknown command {} (/help lists them)", name);
    }
    return true;
  }

  void save(const std::string& path) const {
    std::ofstream out(path, std::ios::binary);
    out << dump_json(conversation_.messages(), 1) << "\n";
    if (!out.flush()) fail(ErrorKind::kBadArgument, "/save {}: cannot be written", path.empty() ? "FILE" : path);
    remark("saved to " + path);
  }

  Conversation conversation_;
  GenerateParams params_;
  bool terminal_;
};

int chat_loop(Chat& chat, LineInput& input, const ChatFlags& f) {
  if (!f.first.empty() && (!chat.handle(f.first) || f.single_turn)) return 0;
  bool warned = false;
  std::string message;
  while (true) {
    switch (input.read("> ", message)) {
      case LineInput::Status::kEnd:
        return 0;
      case LineInput::Status::kInterrupted:
        if (warned || !input.is_terminal()) return 130;
        warned = true;
        clear_interrupt();
        std::fputs("\n(Ctrl-C again or /exit leaves)\n", stderr);
        break;
      case LineInput::Status::kLine:
        warned = false;
        if (!chat.handle(message) || f.single_turn) return 0;
        break;
    }
  }
}

int run_chat(ChatFlags& f) {
  const auto checkpoint = open_checkpoint(f.common.model);
  const LoadedTokenizer loaded = load_tokenizer(*checkpoint, f.common.tokenizer, engine_log());
  if (!loaded.tokenizer) fail(ErrorKind::kUnsupported, "{}", loaded.missing_reason);
  parse_chat_template(*loaded.tokenizer);  // refuse before loading
  const auto backend = open_device(f.common.device);
  EngineOptions options;
  options.n_ctx = f.common.n_ctx;
  options.max_tokens = f.common.chunk;
  options.n_threads = f.common.device.n_threads;
  options.kv_type = f.common.kv_cache_type();
  options.strictness = f.common.strictness();
  Engine engine(*checkpoint, *backend, options, engine_log());
  GenerateParams params;
  params.max_tokens = f.n_predict;
  params.sampling = f.sampling.resolve(*checkpoint);
  params.stop_strings = f.stops;
  if (!f.ignore_eos) params.stop_ids = end_ids(*checkpoint, loaded.tokenizer.get());
  install_interrupt_handler();
  LineInput input(history_path());
  if (input.is_terminal()) remark("/help lists the commands");
  Chat chat(Conversation(engine.make_session(), *loaded.tokenizer, f.system), params, input.is_terminal());
  return chat_loop(chat, input, f);
}

}  // namespace

void add_chat(const Flags& app, int& exit_code) {
  auto f = std::make_shared<ChatFlags>();
  const Flags c = app.command("chat", "talk with a model");
  add_model_flags(c, f->common);
  add_device_flags(c, f->common);
  c.add("-p,--prompt", f->first, "the first message");
  c.add("--system,--system-prompt", f->system, "system message");
  c.add("-n,--predict,--n-predict", f->n_predict, "most tokens of one answer; -1 = until the model stops");
  add_tokenizer_flags(c, f->common);
  c.add("--single-turn", f->single_turn, "leave after one answer");
  f->sampling.add_to(c);
  c.add("--stop,-r,--reverse-prompt", f->stops, "end an answer at this text (repeatable)");
  c.add("--ignore-eos", f->ignore_eos, "go on after an end-of-generation token");
  c.run([f, &exit_code] {
    set_quiet(f->common.quiet);
    exit_code = run_chat(*f);
  });
}

}  // namespace stretto::app
