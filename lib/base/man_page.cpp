// SPDX-License-Identifier: Apache-2.0
#include "lib/base/man_page.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <set>
#include <string_view>
#include <utility>

#include <CLI/CLI.hpp>

namespace sluice {
namespace {

// Text for roff: what looks like a request or an escape is neither, hyphens are
// those that one types, and `this` is bold.
std::string roff(std::string_view text) {
  std::string result;
  bool bold = false;
  for (const char c : text) {
    if (c == '`') {
      bold = !bold;
      result += bold ? "\\fB" : "\\fR";
    } else if (c == '\\') {
      result += "\\e";
    } else if (c == '-') {
      result += "\\-";
    } else if (c == '\'') {
      result += "\\(aq";
    } else if (c == '~') {
      result += "\\(ti";
    } else if (c == '^') {
      result += "\\(ha";
    } else {
      result += c;
    }
  }
  return result.starts_with('.') ? "\\&" + result : result;
}

std::string bold(std::string_view text) {
  return "\\fB" + roff(text) + "\\fR";
}

std::string italic(std::string_view text) {
  return "\\fI" + roff(text) + "\\fR";
}

// A description as a sentence.
std::string sentence(const std::string& text) {
  const bool ended = text.empty() || text.ends_with('.');
  return roff(text) + (ended ? "" : ".") + "\n";
}

// A description after "name -": not a sentence.
std::string summary(std::string text) {
  if (text.ends_with('.')) {
    text.pop_back();
  }
  if (text.size() > 1 &&
      std::islower(static_cast<unsigned char>(text[1])) != 0) {
    text[0] = static_cast<char>(std::tolower(text[0]));
  }
  return roff(text);
}

// Lines of a footer: an empty line begins a paragraph, and indented lines are
// an example.
std::string paragraphs(const std::string& text) {
  std::string result;
  bool example = false;
  bool begin = true;
  for (const auto& line : CLI::detail::split(text, '\n')) {
    const bool indented = line.starts_with("  ");
    if (line.empty()) {
      begin = true;
      continue;
    }
    if (example && !indented) {
      result += ".fi\n.RE\n";
      begin = true;
    }
    if (begin && !(example && indented)) {
      result += ".PP\n";
    }
    if (indented && !example) {
      result += ".RS\n.nf\n";
    }
    example = indented;
    begin = false;
    result += roff(indented ? line.substr(2) : line) + "\n";
  }
  return result + (example ? ".fi\n.RE\n" : "");
}

std::string title(std::string name) {
  std::ranges::transform(name, name.begin(), [](unsigned char c) {
    return static_cast<char>(std::toupper(c));
  });
  return name;
}

bool is_shown(const CLI::Option& option) {
  return !option.get_group().empty();
}

bool is_repeated(const CLI::Option& option) {
  return option.get_expected_max() >= CLI::detail::expected_max_vector_size;
}

std::string joined(const std::set<CLI::Option*>& options) {
  std::string result;
  for (const auto* option : options) {
    result += (result.empty() ? "" : ", ") + bold(option->get_name());
  }
  return result;
}

// What --help says between name and description.
std::string conditions(const CLI::Option& option) {
  std::string result;
  if (option.get_required()) {
    result += "Required.\n";
  }
  if (!option.get_default_str().empty()) {
    result += "Default: " + roff(option.get_default_str()) + ".\n";
  }
  if (!option.get_envname().empty()) {
    result += "Environment: " + bold(option.get_envname()) + ".\n";
  }
  if (!option.get_needs().empty()) {
    result += "Needs " + joined(option.get_needs()) + ".\n";
  }
  if (!option.get_excludes().empty()) {
    result += "Not together with " + joined(option.get_excludes()) + ".\n";
  }
  return result;
}

std::string option_entry(const CLI::Option& option) {
  std::string names;
  const auto add = [&names](std::string_view dashes, const std::string& name) {
    names += (names.empty() ? "" : ", ") + bold(std::string(dashes) + name);
  };
  for (const auto& name : option.get_snames()) {
    add("-", name);
  }
  for (const auto& name : option.get_lnames()) {
    add("--", name);
  }
  if (option.get_positional()) {
    names = italic(option.get_name());
  } else if (option.get_items_expected_max() > 0) {
    names += " " + italic(option.get_type_name());
  }
  return ".TP\n" + names + (is_repeated(option) ? " ...\n" : "\n") +
         sentence(option.get_description()) + conditions(option);
}

std::string synopsis(const CLI::App& app, const std::string& path) {
  std::string result = ".SH SYNOPSIS\n" + bold(path);
  for (const auto* option : app.get_options()) {
    if (is_shown(*option) && option->get_required() &&
        !option->get_positional()) {
      result += " " + bold(option->get_name()) + " " +
                italic(option->get_type_name());
    }
  }
  result += " [\\fIOPTION\\fR ...]";
  for (const auto* option : app.get_options()) {
    if (is_shown(*option) && option->get_positional()) {
      const auto name =
          italic(option->get_name()) + (is_repeated(*option) ? " ..." : "");
      result += option->get_required() ? " " + name : " [" + name + "]";
    }
  }
  if (!app.get_subcommands({}).empty()) {
    result += " \\fICOMMAND\\fR ...";
  }
  return result + "\n";
}

std::string options(const CLI::App& app) {
  std::string result;
  const auto add = [&](const std::string& heading, auto chosen) {
    std::string entries;
    for (const auto* option : app.get_options()) {
      if (is_shown(*option) && chosen(*option)) {
        entries += option_entry(*option);
      }
    }
    if (!entries.empty()) {
      result += heading + "\n" + entries;
    }
  };
  add(".SH ARGUMENTS",
      [](const CLI::Option& option) { return option.get_positional(); });
  for (const auto& group : app.get_groups()) {
    const bool own = group == "Options";
    add(own ? ".SH OPTIONS" : ".SS " + roff(group),
        [&group](const CLI::Option& option) {
          return !option.get_positional() && option.get_group() == group;
        });
  }
  return result;
}

std::string commands(const CLI::App& app) {
  std::string result;
  for (const auto* command : app.get_subcommands({})) {
    result += ".TP\n" + bold(command->get_name()) + "\n" +
              sentence(command->get_description());
  }
  return result.empty() ? result : ".SH COMMANDS\n" + result;
}

// The name of a page, of the command's path.
std::string page_name(std::string path) {
  std::ranges::replace(path, ' ', '-');
  return path;
}

std::string see_also(const CLI::App& app, const std::string& path,
                     const Manual& manual) {
  std::string result;
  const auto add = [&](const std::string& name, const std::string& section) {
    result += (result.empty() ? "" : ",\n") + bold(name) + section;
  };
  const auto own = "(" + std::to_string(manual.section) + ")";
  if (app.get_parent() != nullptr) {
    add(page_name(path.substr(0, path.rfind(' '))), own);
  }
  for (const auto* command : app.get_subcommands({})) {
    add(page_name(path) + "-" + command->get_name(), own);
  }
  if (app.get_parent() == nullptr) {
    for (const auto& page : manual.related) {
      const auto end = page.find('(');
      add(page.substr(0, end), page.substr(end));
    }
  }
  return result.empty() ? result : ".SH SEE ALSO\n" + result + "\n";
}

std::string page(const CLI::App& app, const std::string& path,
                 const Manual& manual) {
  const auto name = page_name(path);
  const auto* parent = app.get_parent();
  const auto footer = app.get_footer();
  const bool own_footer = parent == nullptr || parent->get_footer() != footer;
  return ".\\\" Made from the program's own help; see its option --help.\n"
         ".TH " +
         roff(title(name)) + " " + std::to_string(manual.section) +
         R"( "" "Sluice )" + roff(manual.version) +
         R"(" "Sluice")"
         "\n.SH NAME\n" +
         roff(name) + " \\- " + summary(app.get_description()) + "\n" +
         synopsis(app, path) + ".SH DESCRIPTION\n" +
         sentence(app.get_description()) +
         (own_footer ? paragraphs(footer) : "") + options(app) + commands(app) +
         see_also(app, path, manual);
}

void write_pages(const CLI::App& app, const std::string& path,
                 const Manual& manual, const std::filesystem::path& folder) {
  const auto file =
      folder / (page_name(path) + "." + std::to_string(manual.section));
  std::ofstream stream(file);
  stream << page(app, path, manual) << std::flush;
  if (!stream) {
    throw CLI::ValidationError("--man-pages",
                               file.string() + " cannot be written");
  }
  for (const auto* command : app.get_subcommands({})) {
    write_pages(*command, path + " " + command->get_name(), manual, folder);
  }
}

}  // namespace

void add_man_pages_option(CLI::App& app, const Manual& manual) {
  CLI::callback_t write = [&app, manual](const CLI::results_t& values) -> bool {
    write_pages(app, app.get_name(), manual, values.back());
    throw CLI::Success();
  };
  app.add_option("--man-pages", std::move(write),
                 "Write the manual pages into this folder, and exit")
      ->type_name("DIR")
      ->trigger_on_parse()
      ->group("");
}

}  // namespace sluice
