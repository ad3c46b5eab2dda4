// SPDX-License-Identifier: Apache-2.0
#include "cli/test_report.h"

#include <algorithm>
#include <iterator>
#include <ostream>
#include <set>
#include <sstream>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

#include "agent/node/command_line.h"
#include "agent/node/json_text.h"
#include "cli/output.h"
#include "lib/base/printable.h"

namespace sluice::cli {

// The macro declares a variable that could be const.
// NOLINTNEXTLINE(misc-const-correctness)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(FailureView, scenario, source,
                                                what, direction, subject, peer,
                                                expected, actual, reason,
                                                policy, path, entry, policies,
                                                near_misses)

namespace {

using nlohmann::json;

// Several failures may be of one probe: in both families, in the kernel too.
std::uint64_t failed_probes(const ScenarioReport& report) {
  std::set<std::pair<std::string, std::string>> failed;
  for (const auto& failure : report.failures) {
    failed.emplace(failure.source, failure.what);
  }
  return failed.size();
}

void print_failure(std::ostream& out, const FailureView& failure) {
  out << "  " << printable(failure.what);
  if (!failure.direction.empty()) {
    out << "\n  " << failure.direction << " of " << printable(failure.subject);
  }
  if (!failure.peer.empty()) {
    out << ", peer " << printable(failure.peer);
  }
  out << ": ";
  if (!failure.expected.empty()) {
    out << "expected " << failure.expected << ", got ";
  }
  out << printable(failure.actual);
  if (!failure.reason.empty()) {
    out << " (" << printable(failure.reason) << ')';
  }
  out << '\n';
  if (!failure.policy.empty()) {
    out << "    decided by " << printable(failure.policy) << ' '
        << printable(failure.path) << '\n';
  }
  if (!failure.entry.empty()) {
    out << "    entry " << printable(failure.entry) << '\n';
  }
  if (!failure.policies.empty()) {
    out << "    isolated by " << printable(join(failure.policies)) << '\n';
  }
  for (const auto& miss : failure.near_misses) {
    out << "    near miss: " << printable(miss) << '\n';
  }
}

// printable() has replaced what XML forbids.
std::string xml(std::string_view text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      case '\n':
        result += "&#10;";
        break;
      default:
        result += c;
    }
  }
  return result;
}

std::string text_of(const FailureView& failure) {
  std::ostringstream out;
  print_failure(out, failure);
  return out.str();
}

// Lines of a comment of TAP.
void print_comment(std::ostream& out, const std::string& text) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    out << "# " << line << '\n';
  }
}

}  // namespace

void TestReport::add(std::size_t number, std::string name, std::string source,
                     ScenarioReport report) {
  const std::scoped_lock lock(mutex_);
  waiting_.emplace(number, Case{.name = std::move(name),
                                .source = std::move(source),
                                .report = std::move(report)});
  for (auto next = waiting_.find(next_); next != waiting_.end();
       next = waiting_.find(next_)) {
    take(next->first, next->second);
    waiting_.erase(next);
    ++next_;
  }
}

void TestReport::fail(const std::string& what) {
  const std::scoped_lock lock(mutex_);
  if (error_.empty()) {
    error_ = what;
  }
}

bool TestReport::broken() {
  const std::scoped_lock lock(mutex_);
  return !error_.empty();
}

void TestReport::take(std::size_t number, Case& one) {
  auto& report = one.report;
  probes_ += report.probes;
  questions_ += report.questions;
  unasked_ += report.unasked;
  unsent_ += report.unsent;
  failed_ += failed_probes(report);
  switch (format_) {
    case TestFormat::kText:
      for (const auto& note : report.notes) {
        out_ << "note: " << printable(note) << '\n';
      }
      for (const auto& failure : report.failures) {
        out_ << "FAILED " << printable(failure.source) << " "
             << printable(failure.scenario) << '\n'
             << text_of(failure);
      }
      break;
    case TestFormat::kJson:
      std::ranges::move(report.notes, std::back_inserter(notes_));
      std::ranges::move(report.failures, std::back_inserter(failures_));
      break;
    case TestFormat::kTap:
      out_ << (report.failures.empty() ? "ok " : "not ok ") << number + 1
           << " - " << printable(one.source) << ' ';
      // "#" would begin a directive.
      for (const char c : printable(one.name)) {
        out_ << (c == '#' ? "\\#" : std::string(1, c));
      }
      out_ << '\n';
      for (const auto& note : report.notes) {
        print_comment(out_, printable(note));
      }
      for (const auto& failure : report.failures) {
        print_comment(out_, text_of(failure));
      }
      break;
    case TestFormat::kJunit:
      cases_.push_back(std::move(one));
      break;
  }
}

void TestReport::print_summary() {
  if (unasked_ > 0) {
    out_ << unasked_ << " verdicts not checked: no common address family\n";
  }
  if (unsent_ > 0) {
    out_ << unsent_
         << " packets not sent: this kernel cannot be told by which interface "
            "a packet to a pod enters the node\n";
  }
  out_ << next_ << (next_ == 1 ? " scenario, " : " scenarios, ") << probes_
       << (probes_ == 1 ? " probe, " : " probes, ") << failed_ << " failed\n";
}

void TestReport::print_json() {
  out_ << node::dump(json{{"scenarios", next_},
                          {"probes", probes_},
                          {"lookups", questions_},
                          {"not_asked", unasked_},
                          {"not_sent", unsent_},
                          {"failed", failed_},
                          {"failures", failures_},
                          {"notes", notes_}},
                     2)
       << '\n';
}

// A test case for each scenario, in the form that CI systems read.
void TestReport::print_junit() {
  std::size_t failed = 0;
  for (const auto& one : cases_) {
    failed += one.report.failures.empty() ? 0 : 1;
  }
  out_ << R"(<?xml version="1.0" encoding="UTF-8"?>)" << '\n'
       << R"(<testsuite name="sluice test" tests=")" << cases_.size()
       << R"(" failures=")" << failed << "\">\n";
  for (const auto& one : cases_) {
    out_ << R"(  <testcase classname=")" << xml(printable(one.source))
         << R"(" name=")" << xml(printable(one.name)) << "\">\n";
    for (const auto& failure : one.report.failures) {
      out_ << R"(    <failure message=")" << xml(printable(failure.what))
           << "\">" << xml(text_of(failure)) << "</failure>\n";
    }
    for (const auto& note : one.report.notes) {
      out_ << "    <system-out>" << xml(printable(note)) << "</system-out>\n";
    }
    out_ << "  </testcase>\n";
  }
  out_ << "</testsuite>\n";
}

int TestReport::finish() {
  const std::scoped_lock lock(mutex_);
  if (!error_.empty()) {
    if (format_ == TestFormat::kTap) {
      out_ << "Bail out! " << printable(error_) << '\n';
    }
    return node::complain(error_);
  }
  switch (format_) {
    case TestFormat::kText:
      print_summary();
      break;
    case TestFormat::kJson:
      print_json();
      break;
    case TestFormat::kTap:
      out_ << "1.." << next_ << '\n';
      break;
    case TestFormat::kJunit:
      print_junit();
      break;
  }
  return failed_ == 0 ? node::kExitOk : node::kExitNegative;
}

}  // namespace sluice::cli
