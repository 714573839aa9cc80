#include "jinja/parser.h"

#include <fmt/format.h>

#include <algorithm>

namespace stretto::jinja {

Parser::Parser(Program& program) : program_(program), tokens_(tokenize(program.source)) {
  program_.known = {symbol("loop"), symbol("caller"), symbol("varargs"), symbol("kwargs")};
}

void Parser::parse() {
  program_.body = parse_body({});
  if (!unknown_.empty()) throw unknown_.front();
}

bool Parser::is_name(std::initializer_list<std::string_view> texts) const {
  return current().kind == TokenKind::kName && std::find(texts.begin(), texts.end(), current().text) != texts.end();
}

bool Parser::skip_operator(std::string_view text) {
  if (!is_operator(text)) return false;
  advance();
  return true;
}

bool Parser::skip_name(std::string_view text) {
  if (!is_name(text)) return false;
  advance();
  return true;
}

void Parser::expect_operator(std::string_view text) {
  if (!skip_operator(text)) unexpected(fmt::format("'{}'", text));
}

void Parser::expect_name(std::string_view text) {
  if (!skip_name(text)) unexpected(fmt::format("'{}'", text));
}

void Parser::expect(TokenKind kind, std::string_view what) {
  if (current().kind != kind) unexpected(what);
  advance();
}

std::string_view Parser::take_name(std::string_view what) {
  if (current().kind != TokenKind::kName) unexpected(what);
  const std::string_view name = current().text;
  advance();
  return name;
}

void Parser::unexpected(std::string_view wanted) const {
  if (current().kind == TokenKind::kEnd) fail(fmt::format("expected {}, found the end of the template", wanted));
  fail(fmt::format("expected {}, found '{}'", wanted, current().text.substr(0, 40)));
}

Symbol Parser::symbol(std::string_view name) {
  const auto [at, is_new] = symbols_.emplace(name, static_cast<Symbol>(program_.names.size()));
  if (is_new) program_.names.push_back(make_text(std::string(name)));
  return at->second;
}

ExpressionPtr Parser::child(Expression& parent, ExpressionPtr expression) const {
  if (expression->depth + 1 > kMaxNesting) fail(fmt::format("an expression nested deeper than {} levels", kMaxNesting));
  parent.depth = std::max(parent.depth, static_cast<uint16_t>(expression->depth + 1));
  return expression;
}

}  // namespace stretto::jinja
