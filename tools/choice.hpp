#pragma once

#include <CLI/CLI.hpp>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace skep::tools {

// Lets an option of an enumeration's type be one of these words. (CLI11's own transformer shows the
// enumerators' bytes to the user.)
template <class Value>
CLI::Option* choose_from(CLI::Option* option, std::map<std::string, Value> choices) {
  std::vector<std::string> words;
  for (const auto& [word, value] : choices) words.push_back(word);
  const std::string all = CLI::detail::join(words, ",");
  const auto to_number = [choices = std::move(choices), all](std::string& input) -> std::string {
    const auto found = choices.find(input);
    if (found == choices.end()) return input + " is none of " + all;
    input = CLI::detail::value_string(found->second);
    return {};
  };
  return option->type_name("TEXT")->transform(CLI::Validator(to_number, "{" + all + "}"));
}

}  // namespace skep::tools
