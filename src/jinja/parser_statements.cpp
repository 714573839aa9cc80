#include <fmt/format.h>

#include "jinja/parser.h"

namespace stretto::jinja {
namespace {

template <class Node>
std::unique_ptr<Node> make_node(uint32_t at) {
  return std::make_unique<Node>(at);
}

bool is_constant_name(std::string_view name) {
  return name == "true" || name == "false" || name == "none" || name == "True" || name == "False" || name == "None";
}

}  // namespace

Body Parser::parse_body(Ends ends) {
  const Nesting nesting(*this);
  Body body;
  while (current().kind != TokenKind::kEnd) {
    const Token& token = current();
    if (token.kind == TokenKind::kText) {
      auto text = make_node<TextStatement>(token.at);
      text->text = token.text;
      advance();
      body.statements.push_back(std::move(text));
    } else if (token.kind == TokenKind::kVariableBegin) {
      advance();
      auto output = make_node<OutputStatement>(current().at);
      output->value = parse_tuple(true, false);
      expect(TokenKind::kVariableEnd, "'}}'");
      body.statements.push_back(std::move(output));
    } else {
      expect(TokenKind::kBlockBegin, "'{%'");
      if (is_name(ends)) return body;
      body.statements.push_back(parse_statement(body));
    }
  }
  if (ends.size() > 0) unexpected(fmt::format("'{}'", *(ends.end() - 1)));
  return body;
}

StatementPtr Parser::parse_statement(Body& body) {
  const uint32_t n_captures = n_captures_;
  struct Tag {
    std::string_view name;
    StatementPtr (Parser::*parse)();
  };
  constexpr Tag kTags[] = {
      {"if", &Parser::parse_if},
      {"for", &Parser::parse_for},
      {"set", &Parser::parse_set},
      {"macro", &Parser::parse_macro},
      {"call", &Parser::parse_call_block},
      {"filter", &Parser::parse_filter_block},
      {"generation", &Parser::parse_generation},
      {"break", &Parser::parse_loop_control},
      {"continue", &Parser::parse_loop_control},
  };
  for (const Tag& tag : kTags) {
    if (!is_name(tag.name)) continue;
    StatementPtr statement = (this->*tag.parse)();
    if (n_captures_ != n_captures) body.is_captured = true;
    return statement;
  }
  if (current().kind != TokenKind::kName) unexpected("the name of a tag");
  fail(fmt::format("unknown tag '{}'", current().text));
}

void Parser::end_tag(std::string_view name) {
  expect_name(name);
  expect(TokenKind::kBlockEnd, "'%}'");
}

StatementPtr Parser::parse_if() {
  auto node = make_node<IfStatement>(current().at);
  const Conditional conditional(*this);
  do {
    advance();  // if, elif
    ExpressionPtr test = parse_tuple(false, false);
    expect(TokenKind::kBlockEnd, "'%}'");
    Body body = parse_body({"elif", "else", "endif"});
    node->branches.emplace_back(std::move(test), std::move(body));
  } while (is_name("elif"));
  if (skip_name("else")) {
    expect(TokenKind::kBlockEnd, "'%}'");
    node->otherwise = parse_body({"endif"});
  }
  end_tag("endif");
  return node;
}

StatementPtr Parser::parse_for() {
  auto node = make_node<ForStatement>(current().at);
  advance();
  node->target = parse_target(true);
  expect_name("in");
  node->items = parse_tuple(false, false, "recursive");
  if (skip_name("if")) node->condition = parse_expression();
  node->is_recursive = skip_name("recursive");
  expect(TokenKind::kBlockEnd, "'%}'");
  loops_.push_back(node.get());
  node->body = parse_body({"else", "endfor"});
  loops_.pop_back();
  if (skip_name("else")) {
    expect(TokenKind::kBlockEnd, "'%}'");
    node->otherwise = parse_body({"endfor"});
  }
  end_tag("endfor");
  return node;
}

StatementPtr Parser::parse_set() {
  const uint32_t at = current().at;
  advance();
  Target target = parse_target(false);
  if (skip_operator("=")) {
    auto node = make_node<SetStatement>(at);
    node->target = std::move(target);
    node->value = parse_tuple(true, false);
    expect(TokenKind::kBlockEnd, "'%}'");
    return node;
  }
  auto node = make_node<SetBlockStatement>(at);
  node->target = std::move(target);
  if (is_operator("|")) node->filter = parse_filter_chain(nullptr);
  expect(TokenKind::kBlockEnd, "'=' or '%}'");
  node->body = parse_body({"endset"});
  end_tag("endset");
  return node;
}

StatementPtr Parser::parse_macro() {
  auto node = make_node<MacroStatement>(current().at);
  advance();
  const std::string_view name = current().text;
  node->name = assigned_name();
  node->text = make_text(std::string(name));
  macros_.push_back(node.get());
  parse_parameters(*node);
  macros_.pop_back();
  expect(TokenKind::kBlockEnd, "'%}'");
  node->body = parse_macro_body(*node, "endmacro");
  return node;
}

Body Parser::parse_macro_body(MacroStatement& macro, std::string_view end) {
  ++n_captures_;
  macros_.push_back(&macro);
  const size_t n_outer_loops = std::exchange(n_outer_loops_, loops_.size());
  Body body = parse_body({end});
  n_outer_loops_ = n_outer_loops;
  macros_.pop_back();
  end_tag(end);
  return body;
}

void Parser::parse_parameters(MacroStatement& macro) {
  expect_operator("(");
  while (!is_operator(")")) {
    if (!macro.parameters.empty()) expect_operator(",");
    Parameter parameter;
    parameter.text = make_text(std::string(current().text));
    parameter.name = assigned_name();
    for (const Parameter& have : macro.parameters) {
      if (have.name == parameter.name) fail(fmt::format("two parameters are named '{}'", parameter.text->bytes));
    }
    if (skip_operator("=")) {
      parameter.fallback = parse_expression();
    } else if (!macro.parameters.empty() && macro.parameters.back().fallback != nullptr) {
      fail("a parameter without a default follows one with a default");
    }
    macro.parameters.push_back(std::move(parameter));
  }
  advance();
}

StatementPtr Parser::parse_call_block() {
  auto node = make_node<CallBlockStatement>(current().at);
  advance();
  node->caller = make_node<MacroStatement>(node->at);
  node->caller->name = program_.known.caller;
  node->caller->text = program_.names[program_.known.caller];
  if (is_operator("(")) parse_parameters(*node->caller);
  node->call = parse_expression();
  if (node->call->kind != ExpressionKind::kCall) fail("'call' needs the call of a macro");
  expect(TokenKind::kBlockEnd, "'%}'");
  node->caller->body = parse_macro_body(*node->caller, "endcall");
  return node;
}

StatementPtr Parser::parse_filter_block() {
  auto node = make_node<FilterBlockStatement>(current().at);
  advance();
  node->filter = parse_filter_chain(parse_filter(nullptr));
  expect(TokenKind::kBlockEnd, "'%}'");
  node->body = parse_body({"endfilter"});
  end_tag("endfilter");
  return node;
}

StatementPtr Parser::parse_generation() {
  auto node = make_node<GroupStatement>(current().at);
  advance();
  expect(TokenKind::kBlockEnd, "'%}'");
  node->body = parse_body({"endgeneration"});
  end_tag("endgeneration");
  return node;
}

StatementPtr Parser::parse_loop_control() {
  if (loops_.size() == n_outer_loops_) fail(fmt::format("'{}' outside a loop", current().text));
  StatementPtr node;
  if (is_name("break")) {
    node = make_node<BreakStatement>(current().at);
  } else {
    node = make_node<ContinueStatement>(current().at);
  }
  advance();
  expect(TokenKind::kBlockEnd, "'%}'");
  return node;
}

Symbol Parser::assigned_name() {
  if (current().kind == TokenKind::kName && is_constant_name(current().text)) {
    fail(fmt::format("'{}' cannot be assigned to", current().text));
  }
  return symbol(take_name("a name"));
}

Target Parser::parse_target(bool is_loop) {
  if (!is_loop && current().kind == TokenKind::kName && peek().kind == TokenKind::kOperator && peek().text == ".") {
    Target target;
    target.kind = Target::Kind::kAttribute;
    target.at = current().at;
    target.name = assigned_name();
    advance();
    target.attribute = make_text(std::string(take_name("an attribute")));
    return target;
  }
  const Token& first = current();
  if (is_loop && is_name("loop")) fail("'loop' cannot be the target of a loop");
  Target target = parse_target_list();
  if (target.kind == Target::Kind::kTuple && target.items.empty()) {
    throw SyntaxFault{first.at, "there is no name to assign to"};
  }
  return target;
}

Target Parser::parse_target_list() {
  Target list;
  list.kind = Target::Kind::kTuple;
  list.at = current().at;
  bool is_tuple = false;
  while (current().kind == TokenKind::kName || is_operator("(")) {
    if (is_name("in")) break;
    list.items.push_back(parse_target_item());
    if (!skip_operator(",")) break;
    is_tuple = true;
  }
  if (is_tuple || list.items.size() != 1) return list;
  Target only = std::move(list.items[0]);
  return only;
}

Target Parser::parse_target_item() {
  const Nesting nesting(*this);
  if (skip_operator("(")) {
    Target inner = parse_target_list();
    expect_operator(")");
    return inner;
  }
  Target target;
  target.at = current().at;
  target.name = assigned_name();
  return target;
}

}  // namespace stretto::jinja
