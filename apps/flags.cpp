#include "flags.h"

#include <CLI/CLI.hpp>

namespace stretto::app {

Flag Flag::required() const { return Flag(option_->required()); }
Flag Flag::or_environment(const std::string& variable) const { return Flag(option_->envname(variable)); }
Flag Flag::one_of(const std::vector<std::string>& values) const { return Flag(option_->check(CLI::IsMember(values))); }
Flag Flag::between(int64_t low, int64_t high) const { return Flag(option_->check(CLI::Range(low, high))); }
Flag Flag::separated_by(char delimiter) const { return Flag(option_->delimiter(delimiter)); }
Flag Flag::takes(int n_values) const { return Flag(option_->expected(n_values)); }
Flag Flag::in_group(const std::string& name) const { return Flag(option_->group(name)); }
Flag Flag::shows_default() const { return Flag(option_->capture_default_str()); }
bool Flag::given() const { return option_->count() > 0; }

Flags Flags::command(const std::string& name, const std::string& what_it_does) const {
  return Flags(*app_->add_subcommand(name, what_it_does));
}

void Flags::run(const std::function<void()>& body) const { app_->callback(body); }

Flag Flags::add(const std::string& names, bool& value, const std::string& help) const {
  return Flag(app_->add_flag(names, value, help));
}
Flag Flags::add(const std::string& names, int& value, const std::string& help) const {
  return Flag(app_->add_option(names, value, help));
}
Flag Flags::add(const std::string& names, int64_t& value, const std::string& help) const {
  return Flag(app_->add_option(names, value, help));
}
Flag Flags::add(const std::string& names, uint64_t& value, const std::string& help) const {
  return Flag(app_->add_option(names, value, help));
}
Flag Flags::add(const std::string& names, double& value, const std::string& help) const {
  return Flag(app_->add_option(names, value, help));
}
Flag Flags::add(const std::string& names, std::string& value, const std::string& help) const {
  return Flag(app_->add_option(names, value, help));
}
Flag Flags::add(const std::string& names, std::vector<std::string>& values, const std::string& help) const {
  return Flag(app_->add_option(names, values, help));
}
Flag Flags::add(const std::string& names, const std::function<void(const std::string&)>& take,
                const std::string& help) const {
  return Flag(app_->add_option_function<std::string>(names, take, help));
}

}  // namespace stretto::app
