// A command and its flags, in the few forms that this program uses. CLI11 does the work; its header takes longer to
// compile than most commands, so only flags.cpp, arguments.cpp and main.cpp include it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace stretto::app {

// A flag that was added; what follows says more about it. A handle, valid as long as the program's CLI::App.
class Flag {
 public:
  explicit Flag(CLI::Option* option) : option_(option) {}
  Flag required() const;
  Flag or_environment(const std::string& variable) const;  // its value where the flag is not given
  Flag one_of(const std::vector<std::string>& values) const;
  Flag between(int64_t low, int64_t high) const;  // both inclusive
  Flag separated_by(char delimiter) const;        // one argument may hold several values
  Flag takes(int n_values) const;
  Flag in_group(const std::string& name) const;  // the heading in the help text
  Flag shows_default() const;
  bool given() const;  // on the command line or by the environment; known once it was parsed

 private:
  CLI::Option* option_;
};

// Names are CLI11's: "-p,--prompt"; one without dashes may also be given by position. The variable keeps its value
// where the flag is absent, and must outlive the parsing.
class Flags {
 public:
  explicit Flags(CLI::App& app) : app_(&app) {}
  Flags command(const std::string& name, const std::string& what_it_does) const;
  void run(const std::function<void()>& body) const;  // once the whole command line was parsed

  Flag add(const std::string& names, bool& value, const std::string& help) const;  // takes no argument
  Flag add(const std::string& names, int& value, const std::string& help) const;
  Flag add(const std::string& names, int64_t& value, const std::string& help) const;
  Flag add(const std::string& names, uint64_t& value, const std::string& help) const;
  Flag add(const std::string& names, double& value, const std::string& help) const;
  Flag add(const std::string& names, std::string& value, const std::string& help) const;
  Flag add(const std::string& names, std::vector<std::string>& values, const std::string& help) const;
  Flag add(const std::string& names, const std::function<void(const std::string&)>& take,
           const std::string& help) const;

 private:
  CLI::App* app_;
};

}  // namespace stretto::app
