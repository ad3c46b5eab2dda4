// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "lib/base/result.h"
#include "lib/policy/translator.h"

// Runs scenarios through the translator and the lookup model, and compares them
// with the reference evaluator.
namespace sluice::testing {

// Gives a Kubernetes object or policy to the translator.
Result<void> set_object(policy::Translator& translator,
                        const nlohmann::json& object);
void remove_object(policy::Translator& translator,
                   const nlohmann::json& object);
// Addresses for the entities that are made of no object.
void set_reserved(policy::Translator& translator);

struct Comparison {
  std::size_t checks = 0;
  std::size_t by_name = 0;  // packets that a name of the address allowed
  std::size_t lists = 0;    // questions that a list of names decided
  // The first probe on which the two disagree, by its index, and how.
  std::optional<std::size_t> disagrees_at;
  std::string how;
};

// An error if the scenario or one of its objects is not valid.
Result<Comparison> compare(const nlohmann::json& scenario);
// The same with what nodes were given in the course of time; `translator` has
// the scenario's objects.
Result<Comparison> compare(const nlohmann::json& scenario,
                           const policy::Translator& translator,
                           const std::map<std::string, State>& views);

// The smallest scenario found that still disagrees, with the one probe left and
// the reference evaluator's verdicts in it: to be fed to `sluice test`.
nlohmann::json shrink(nlohmann::json scenario);

// `name` from the environment as a number, else `otherwise`.
std::uint64_t number_from_environment(const char* name,
                                      std::uint64_t otherwise);

}  // namespace sluice::testing
