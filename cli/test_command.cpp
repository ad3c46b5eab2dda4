// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <regex.h>

#include "agent/node/command_line.h"
#include "cli/commands.h"
#include "cli/judge.h"
#include "cli/scenario.h"
#include "cli/test_report.h"
#include "lib/base/option_words.h"
#include "lib/base/result.h"

namespace sluice::cli {

namespace {

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
  std::string run;  // a regular expression
  TestFormat format = TestFormat::kText;
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

void work(Queue& queue, TestReport& results, bool use_kernel) {
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
      const auto& scenario = item->second;
      results.add(item->first, scenario.name,
                  scenario.file + ":" + std::to_string(scenario.line),
                  judge_scenario(scenario, kernel ? &*kernel : nullptr));
    }
  }
}

// The files themselves and, of folders, the scenario files in them and in their
// subfolders, sorted.
Result<std::vector<std::filesystem::path>> scenario_files(
    const std::vector<std::filesystem::path>& paths) {
  namespace fs = std::filesystem;
  std::vector<fs::path> files;
  for (const auto& path : paths) {
    std::error_code code;
    if (!fs::is_directory(path, code)) {
      if (!is_scenario_file(path)) {
        return fail(path.string() +
                    ": not a scenario file (.jsonl, .jsonl.gz, .json, .yaml, "
                    ".yml)");
      }
      files.push_back(path);
      continue;
    }
    std::vector<fs::path> found;
    for (fs::recursive_directory_iterator at(path, code), end;
         !code && at != end; at.increment(code)) {
      if (at->is_regular_file() && is_scenario_file(at->path())) {
        found.push_back(at->path());
      }
    }
    if (code) {
      return fail(path.string() + ": " + code.message());
    }
    if (found.empty()) {
      return fail(path.string() + ": no scenario files");
    }
    std::ranges::sort(found);
    std::ranges::move(found, std::back_inserter(files));
  }
  return files;
}

// A regular expression of POSIX, extended; an empty one matches every text.
class Pattern {
 public:
  static Result<Pattern> parse(const std::string& text) {
    Pattern pattern;
    if (text.empty()) {
      return pattern;
    }
    auto compiled = std::make_unique<regex_t>();
    if (const int code =
            ::regcomp(compiled.get(), text.c_str(), REG_EXTENDED | REG_NOSUB);
        code != 0) {
      std::array<char, 256> why{};
      ::regerror(code, compiled.get(), why.data(), why.size());
      return fail("--run: \"" + text + "\": " + why.data());
    }
    pattern.compiled_.reset(compiled.release());
    return pattern;
  }
  [[nodiscard]] bool matches(const std::string& text) const {
    return !compiled_ ||
           ::regexec(compiled_.get(), text.c_str(), 0, nullptr, 0) == 0;
  }

 private:
  struct Free {
    void operator()(regex_t* compiled) const {
      ::regfree(compiled);
      std::default_delete<regex_t>()(compiled);
    }
  };
  std::unique_ptr<regex_t, Free> compiled_;
};

int test(const Arguments& arguments) {
  const auto files = scenario_files(arguments.files);
  if (!files) {
    return node::complain(files.error().message);
  }
  const auto pattern = Pattern::parse(arguments.run);
  if (!pattern) {
    return node::complain(pattern.error().message);
  }
  Queue queue;
  TestReport results(std::cout, arguments.format);
  std::vector<std::jthread> workers;
  const auto jobs = arguments.jobs > 0
                        ? arguments.jobs
                        : std::max(1U, std::thread::hardware_concurrency());
  workers.reserve(jobs);
  for (unsigned i = 0; i < jobs; ++i) {
    workers.emplace_back([&] { work(queue, results, arguments.kernel); });
  }
  std::size_t number = 0;
  for (const auto& file : *files) {
    const auto read =
        read_scenarios(file, [&](const Scenario& scenario) -> Result<void> {
          if (!pattern->matches(scenario.name)) {
            return {};
          }
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
  if (number == 0 && !arguments.run.empty()) {
    results.fail("--run: no scenario has a name that matches \"" +
                 arguments.run + "\"");
  }
  return results.finish();
}

}  // namespace

void add_test(CLI::App& app, int& exit_code) {
  auto* command =
      app.add_subcommand("test", "Check policies against expected verdicts");
  command->footer(kFooter);
  const auto arguments = std::make_shared<Arguments>();
  command
      ->add_option("FILE", arguments->files,
                   "Scenario files, and folders of them; - for the standard "
                   "input, in YAML")
      ->required();
  command
      ->add_option("--run", arguments->run,
                   "Only scenarios whose name matches this regular expression")
      ->type_name("PATTERN");
  static const std::map<std::string, TestFormat> formats{
      {"table", TestFormat::kText},
      {"json", TestFormat::kJson},
      {"junit", TestFormat::kJunit},
      {"tap", TestFormat::kTap}};
  command
      ->add_option("-o,--output", arguments->format,
                   "Output for people (table, the default) or programs")
      ->transform(one_of(formats))
      ->type_name("table|json|junit|tap");
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
