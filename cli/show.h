// SPDX-License-Identifier: Apache-2.0
#pragma once

// For the files of commands that show a view. Source files only.

#include <iostream>

#include <nlohmann/json.hpp>

#include "agent/node/command_line.h"
#include "agent/node/json_text.h"
#include "cli/client.h"
#include "cli/output.h"
#include "cli/tables.h"

namespace sluice::cli {

template <typename View>
void show_json(const View& view) {
  std::cout << node::dump(nlohmann::json(view), 2) << '\n';
}

template <typename View>
void show(const View& view, Format format) {
  if (format == Format::kJson) {
    show_json(view);
  } else {
    print(std::cout, view);
  }
}

// Asks the running program for a view.
template <typename View>
Result<View> ask_view(const std::filesystem::path& socket,
                      const nlohmann::json& request,
                      const char* rows_member = "") {
  auto json = ask(socket, request, rows_member);
  if (!json) {
    return std::unexpected(std::move(json.error()));
  }
  try {
    return json->template get<View>();
  } catch (const nlohmann::json::exception& error) {
    return fail(std::string("the running program's answer: ") + error.what());
  }
}

// For filters by a pod: fails if the running program has no pod of this name.
Result<void> check_endpoint(const std::filesystem::path& socket,
                            const std::string& name);

}  // namespace sluice::cli
