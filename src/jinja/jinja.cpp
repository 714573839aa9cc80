#include "jinja/jinja.h"

#include <algorithm>

#include "jinja/ast.h"
#include "jinja/interpreter.h"
#include "jinja/parser.h"
#include "jinja/unicode.h"

namespace stretto::jinja {
namespace {

constexpr size_t kMaxSourceBytes = 1 << 20;

[[noreturn]] void throw_at(ErrorKind kind, const Program& program, uint32_t at, const std::string& detail) {
  const std::string_view before = std::string_view(program.source).substr(0, at);
  const size_t line_begin = before.rfind('\n') + 1;  // 0 on the first line
  const auto line = static_cast<uint32_t>(std::count(before.begin(), before.end(), '\n')) + 1;
  const auto column = static_cast<uint32_t>(count_code_points(before.substr(line_begin))) + 1;
  throw TemplateError(kind, program.name, line, column, detail);
}

}  // namespace

TemplateError::TemplateError(ErrorKind kind, std::string_view name, uint32_t line, uint32_t column,
                             const std::string& detail)
    : Error(kind, fmt::format("{}:{}:{}: {}", name, line, column, detail)),
      line_(line),
      column_(column),
      detail_(detail) {}

Template Template::parse(std::string_view source, std::string_view name) {
  auto program = std::make_shared<Program>();
  program->name = name;
  if (source.size() > kMaxSourceBytes) {
    throw_at(ErrorKind::kInvalidModel, *program, 0,
             fmt::format("a template of {} bytes is longer than {}", source.size(), kMaxSourceBytes));
  }
  if (!is_valid_utf8(source)) throw_at(ErrorKind::kInvalidModel, *program, 0, "the template is not valid UTF-8");
  program->source = normalized_source(source);
  try {
    Parser(*program).parse();
  } catch (const SyntaxFault& fault) {
    throw_at(ErrorKind::kInvalidModel, *program, fault.at, fault.message);
  }
  return Template(std::move(program));
}

std::string Template::render(const nlohmann::ordered_json& context, const RenderOptions& options) const {
  Runtime runtime(options);
  try {
    return Interpreter(*program_, runtime).render(context);
  } catch (const RenderFailure& failure) {
    throw_at(ErrorKind::kBadArgument, *program_, runtime.at, failure.what());
  }
}

const std::string& Template::source() const { return program_->source; }
const std::string& Template::name() const { return program_->name; }

}  // namespace stretto::jinja
