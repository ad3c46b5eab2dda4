// SPDX-License-Identifier: Apache-2.0
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "agent/node/command_line.h"
#include "agent/node/json_text.h"
#include "agent/node/views_json.h"
#include "cli/commands.h"
#include "cli/judge.h"
#include "cli/options.h"
#include "cli/scenario.h"
#include "cli/show.h"
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

constexpr const char* kFooter = R"(
A scenario is a small cluster (Kubernetes objects) and probes with the verdict
that each must get; docs/scenarios.md describes the format. *.jsonl and
*.jsonl.gz hold one scenario per line, *.yaml one per document:

  name: only the front end reaches the database
  objects: [...]            # Namespaces, Pods, Nodes, Services, policies
  manifests: [../policies]  # more objects: files, and folders of them
  probes:
  - {from: {pod: shop/web}, to: {pod: shop/db}, protocol: TCP, port: 5432,
     ingress: allow}

Invalid objects have no effect, except that an invalid NetworkPolicy isolates
its pods. Objects listed under `invalid` must be invalid, all others valid.
With --kernel every probe is also sent through the real programs with
BPF_PROG_TEST_RUN, and must get the same verdict for the same reason and by the
same rule. Exit status: 0 all as expected, 1 not, 2 a file cannot be read.)";

struct Arguments {
  std::vector<std::filesystem::path> files;
  Format format = Format::kTable;
  unsigned jobs = 0;
  bool kernel = false;
};

// Scenarios between the reader and the workers. Bounded, so that a large file
// does not have to fit into memory.
class Queue {
 public:
  void push(std::size_t number, Scenario scenario) {
    std::unique_lock lock(mutex_);
    room_.wait(lock, [&] { return items_.size() < kItemsMax || closed_; });
    items_.emplace_back(number, std::move(scenario));
    ready_.notify_one();
  }
  std::optional<std::pair<std::size_t, Scenario>> pop() {
    std::unique_lock lock(mutex_);
    ready_.wait(lock, [&] { return !items_.empty() || closed_; });
    if (items_.empty()) {
      return std::nullopt;
    }
    auto item = std::move(items_.front());
    items_.pop_front();
    room_.notify_one();
    return item;
  }
  void close() {
    const std::scoped_lock lock(mutex_);
    closed_ = true;
    ready_.notify_all();
    room_.notify_all();
  }

 private:
  static constexpr std::size_t kItemsMax = 64;
  std::mutex mutex_;
  std::condition_variable ready_;
  std::condition_variable room_;
  std::deque<std::pair<std::size_t, Scenario>> items_;
  bool closed_ = false;
};

void print_failure(std::ostream& out, const FailureView& failure) {
  out << "FAILED " << printable(failure.source) << " "
      << printable(failure.scenario) << '\n'
      << "  " << printable(failure.what);
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

// Collects reports and shows failures in the scenarios' order.
class Results {
 public:
  explicit Results(Format format) : format_(format) {}

  void add(std::size_t number, ScenarioReport report) {
    const std::scoped_lock lock(mutex_);
    waiting_.emplace(number, std::move(report));
    for (auto next = waiting_.find(next_); next != waiting_.end();
         next = waiting_.find(next_)) {
      take(next->second);
      waiting_.erase(next);
      ++next_;
    }
  }
  void fail(const std::string& what) {
    const std::scoped_lock lock(mutex_);
    if (error_.empty()) {
      error_ = what;
    }
  }
  [[nodiscard]] bool broken() {
    const std::scoped_lock lock(mutex_);
    return !error_.empty();
  }
  int finish() {
    if (!error_.empty()) {
      return node::complain(error_);
    }
    if (format_ == Format::kJson) {
      std::cout << node::dump(json{{"scenarios", next_},
                                   {"probes", probes_},
                                   {"lookups", questions_},
                                   {"not_asked", unasked_},
                                   {"not_sent", unsent_},
                                   {"failed", failed_},
                                   {"failures", failures_},
                                   {"notes", notes_}},
                              2)
                << '\n';
    } else {
      if (unasked_ > 0) {
        std::cout << unasked_
                  << " verdicts not checked: no common address family\n";
      }
      if (unsent_ > 0) {
        std::cout << unsent_
                  << " packets not sent: this kernel cannot be told by which "
                     "interface a packet to a pod enters the node\n";
      }
      std::cout << next_ << (next_ == 1 ? " scenario, " : " scenarios, ")
                << probes_ << (probes_ == 1 ? " probe, " : " probes, ")
                << failed_ << " failed\n";
    }
    return failed_ == 0 ? node::kExitOk : node::kExitNegative;
  }

 private:
  void take(ScenarioReport& report) {
    probes_ += report.probes;
    questions_ += report.questions;
    unasked_ += report.unasked;
    unsent_ += report.unsent;
    failed_ += report.failures.size();
    for (auto& note : report.notes) {
      if (format_ == Format::kJson) {
        notes_.push_back(std::move(note));
      } else {
        std::cout << "note: " << printable(note) << '\n';
      }
    }
    for (auto& failure : report.failures) {
      if (format_ == Format::kJson) {
        failures_.push_back(std::move(failure));
      } else {
        print_failure(std::cout, failure);
      }
    }
  }

  Format format_;
  std::mutex mutex_;
  std::map<std::size_t, ScenarioReport> waiting_;
  std::size_t next_ = 0;
  std::uint64_t probes_ = 0;
  std::uint64_t questions_ = 0;
  std::uint64_t unasked_ = 0;
  std::uint64_t unsent_ = 0;
  std::uint64_t failed_ = 0;
  std::vector<FailureView> failures_;
  std::vector<std::string> notes_;
  std::string error_;
};

void work(Queue& queue, Results& results, bool use_kernel) {
  std::optional<Kernel> kernel;
  if (use_kernel) {
    auto created = Kernel::create();
    if (created) {
      kernel = std::move(*created);
    } else {
      results.fail(created.error().message);
      queue.close();
    }
  }
  while (auto item = queue.pop()) {
    if (!results.broken()) {
      results.add(item->first,
                  judge_scenario(item->second, kernel ? &*kernel : nullptr));
    }
  }
}

int test(const Arguments& arguments) {
  for (const auto& file : arguments.files) {
    if (!is_scenario_file(file)) {
      return node::complain(file.string() +
                            ": not a scenario file (.jsonl, .jsonl.gz, .json, "
                            ".yaml, .yml)");
    }
  }
  Queue queue;
  Results results(arguments.format);
  std::vector<std::jthread> workers;
  const auto jobs = arguments.jobs > 0
                        ? arguments.jobs
                        : std::max(1U, std::thread::hardware_concurrency());
  workers.reserve(jobs);
  for (unsigned i = 0; i < jobs; ++i) {
    workers.emplace_back([&] { work(queue, results, arguments.kernel); });
  }
  std::size_t number = 0;
  for (const auto& file : arguments.files) {
    const auto read =
        read_scenarios(file, [&](const Scenario& scenario) -> Result<void> {
          queue.push(number++, scenario);
          return results.broken() ? Result<void>(fail("stopped"))
                                  : Result<void>{};
        });
    if (!read) {
      results.fail(read.error().message);
      break;
    }
  }
  queue.close();
  workers.clear();
  return results.finish();
}

}  // namespace

void add_test(CLI::App& app, int& exit_code) {
  auto* command =
      app.add_subcommand("test", "Check policies against expected verdicts");
  command->footer(kFooter);
  const auto arguments = std::make_shared<Arguments>();
  command->add_option("FILE", arguments->files, "Scenario files")->required();
  add_output_option(*command, arguments->format);
  command
      ->add_option(
          "--jobs", arguments->jobs,
          "Number of scenarios evaluated in parallel; default: one per core")
      ->type_name("N")
      ->check(CLI::Range(1U, 256U).description(""));
  command->add_flag("--kernel", arguments->kernel,
                    "Run the probes through the kernel, too; needs root");
  command->callback([arguments, &exit_code] { exit_code = test(*arguments); });
}

}  // namespace sluice::cli
