// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "cli/judge.h"

// What `sluice test` prints.
namespace sluice::cli {

enum class TestFormat : std::uint8_t { kText, kJson, kJunit, kTap };

// Collects the reports of scenarios from any thread and prints them in the
// scenarios' order: text and TAP as soon as all before are there.
class TestReport {
 public:
  // `out` must outlive this object.
  TestReport(std::ostream& out, TestFormat format)
      : out_(out), format_(format) {}

  // The scenario with this number, from 0; each number comes once. Its name and
  // where it stands, "file:line".
  void add(std::size_t number, std::string name, std::string source,
           ScenarioReport report);
  // The test cannot go on: only the first reason counts.
  void fail(const std::string& what);
  [[nodiscard]] bool broken();
  // Prints the rest. Returns the exit code; of one that cannot go on,
  // kExitError after a message.
  int finish();

 private:
  struct Case {
    std::string name;
    std::string source;
    ScenarioReport report;
  };

  void take(std::size_t number, Case& one);
  void print_summary();
  void print_json();
  void print_junit();

  std::ostream& out_;
  const TestFormat format_;
  std::mutex mutex_;  // guards what follows
  std::map<std::size_t, Case> waiting_;
  std::size_t next_ = 0;
  std::uint64_t probes_ = 0;
  std::uint64_t questions_ = 0;
  std::uint64_t unasked_ = 0;
  std::uint64_t unsent_ = 0;
  std::uint64_t failed_ = 0;
  std::vector<FailureView> failures_;
  std::vector<std::string> notes_;
  std::vector<Case> cases_;  // for JUnit, which begins with their number
  std::string error_;
};

}  // namespace sluice::cli
