// Template text to Program.
#pragma once

#include <initializer_list>
#include <unordered_map>
#include <vector>

#include "jinja/ast.h"
#include "jinja/lexer.h"

namespace stretto::jinja {

// A recursive descent parser of Jinja2's grammar. Statements and brackets may be nested kMaxNesting deep, and so may
// the tree of an expression; operators of one precedence form one flat node, so their number is free.
class Parser {
 public:
  static constexpr int kMaxNesting = 200;

  explicit Parser(Program& program);
  // Fills program.body, names and known from program.source. Throws SyntaxFault.
  void parse();

 private:
  // Tokens (parser.cpp).
  const Token& current() const { return tokens_[at_]; }
  const Token& peek() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  void advance() {
    if (at_ + 1 < tokens_.size()) ++at_;
  }
  bool is_operator(std::string_view text) const {
    return current().kind == TokenKind::kOperator && current().text == text;
  }
  bool is_name(std::string_view text) const { return current().kind == TokenKind::kName && current().text == text; }
  bool is_name(std::initializer_list<std::string_view> texts) const;
  bool skip_operator(std::string_view text);
  bool skip_name(std::string_view text);
  void expect_operator(std::string_view text);
  void expect_name(std::string_view text);
  void expect(TokenKind kind, std::string_view what);
  std::string_view take_name(std::string_view what);
  [[noreturn]] void fail(const std::string& message) const { throw SyntaxFault{current().at, message}; }
  [[noreturn]] void unexpected(std::string_view wanted) const;
  Symbol symbol(std::string_view name);
  // Adopts a child: its depth counts into the parent's.
  ExpressionPtr child(Expression& parent, ExpressionPtr expression) const;

  // Keeps an unknown filter or test for the end of the template, unless its use depends on a condition.
  void note_unknown(uint32_t at, std::string message) {
    if (n_conditionals_ == 0) unknown_.push_back({at, std::move(message)});
  }

  class Nesting;
  class Conditional;

  // Statements (parser_statements.cpp).
  using Ends = std::initializer_list<std::string_view>;
  // Up to a tag of one of the names, which is left to be read; with no names, up to the end.
  Body parse_body(Ends ends);
  StatementPtr parse_statement(Body& body);
  StatementPtr parse_if();
  StatementPtr parse_for();
  StatementPtr parse_set();
  StatementPtr parse_macro();
  StatementPtr parse_call_block();
  StatementPtr parse_filter_block();
  StatementPtr parse_generation();
  StatementPtr parse_loop_control();
  void parse_parameters(MacroStatement& macro);
  Body parse_macro_body(MacroStatement& macro, std::string_view end);
  void end_tag(std::string_view name);
  Target parse_target(bool is_loop);
  Target parse_target_item();
  Target parse_target_list();
  Symbol assigned_name();

  // Expressions (parser_expressions.cpp, parser_postfix.cpp).
  ExpressionPtr parse_expression();
  ExpressionPtr parse_or();
  ExpressionPtr parse_and();
  ExpressionPtr parse_not();
  ExpressionPtr parse_comparison();
  bool parse_compare_op(CompareOp& op);
  ExpressionPtr parse_sum();
  ExpressionPtr parse_concat();
  ExpressionPtr parse_product();
  ExpressionPtr parse_power();
  template <size_t kCount>
  ExpressionPtr parse_arithmetic(ExpressionPtr (Parser::*operand)(),
                                 const std::pair<std::string_view, BinaryOp> (&ops)[kCount]);
  ExpressionPtr parse_unary(bool with_filters);
  ExpressionPtr parse_unary_with_filters() { return parse_unary(true); }
  ExpressionPtr parse_primary();
  ExpressionPtr parse_name();
  ExpressionPtr parse_string();
  ExpressionPtr parse_number();
  ExpressionPtr parse_list();
  ExpressionPtr parse_dict();
  ExpressionPtr parse_postfix(ExpressionPtr expression);
  ExpressionPtr parse_attribute(ExpressionPtr object);
  ExpressionPtr parse_subscript(ExpressionPtr object);
  ExpressionPtr parse_tuple_in_brackets();
  ExpressionPtr parse_call(ExpressionPtr callee);
  void parse_arguments(Expression& parent, ArgumentExpressions& arguments);
  ExpressionPtr parse_filters_and_tests(ExpressionPtr expression);
  // After `|`, or after `filter` in a filter block: name and arguments.
  ExpressionPtr parse_filter(ExpressionPtr input);
  ExpressionPtr parse_filter_chain(ExpressionPtr expression);
  ExpressionPtr parse_test(ExpressionPtr input);
  // Expressions with commas between them form a tuple. Conditional expressions are taken only if asked for.
  ExpressionPtr parse_tuple(bool with_conditionals, bool in_parentheses, std::string_view end_name = {});
  bool at_tuple_end(std::string_view end_name) const;

  Program& program_;
  std::vector<Token> tokens_;
  size_t at_ = 0;
  int nesting_ = 0;
  int n_conditionals_ = 0;    // enclosing if statements and conditional expressions
  uint32_t n_captures_ = 0;   // macros and call blocks so far
  size_t n_outer_loops_ = 0;  // loops around the macro or call block that is being read
  std::vector<SyntaxFault> unknown_;
  std::unordered_map<std::string_view, Symbol> symbols_;
  // What the bodies around the current place read, from the outermost inwards.
  std::vector<MacroStatement*> macros_;
  std::vector<ForStatement*> loops_;
};

// Refuses to go deeper than kMaxNesting while it lives.
class Parser::Nesting {
 public:
  explicit Nesting(Parser& parser) : parser_(parser) {
    if (parser_.nesting_ >= kMaxNesting) parser_.fail("nested deeper than " + std::to_string(kMaxNesting) + " levels");
    ++parser_.nesting_;
  }
  ~Nesting() { --parser_.nesting_; }
  Nesting(const Nesting&) = delete;
  Nesting& operator=(const Nesting&) = delete;

 private:
  Parser& parser_;
};

// Marks what is evaluated only under a condition: unknown filters and tests there are no syntax errors.
class Parser::Conditional {
 public:
  explicit Conditional(Parser& parser) : parser_(parser) { ++parser_.n_conditionals_; }
  ~Conditional() { --parser_.n_conditionals_; }
  Conditional(const Conditional&) = delete;
  Conditional& operator=(const Conditional&) = delete;

 private:
  Parser& parser_;
};

}  // namespace stretto::jinja
