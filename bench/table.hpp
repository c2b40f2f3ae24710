#pragma once

#include <string>
#include <vector>

namespace skep::bench {

// A table of text: the first column to the left, the others to the right.
class Table {
 public:
  explicit Table(std::vector<std::string> columns) : rows_{std::move(columns)} {}
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  // Nothing but the heading.
  bool empty() const { return rows_.size() == 1; }
  void print(bool as_markdown) const;

 private:
  std::vector<size_t> widths() const;

  std::vector<std::vector<std::string>> rows_;  // the heading first; all of one length
};

// Takes `--flag` out of a program's arguments; whether it was there.
bool take_flag(int& argc, char** argv, const char* flag);

}  // namespace skep::bench
