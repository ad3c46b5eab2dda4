// SPDX-License-Identifier: Apache-2.0
// The elements of a scenario's probes that are about DNS and time.
#include <array>
#include <string>
#include <string_view>
#include <utility>

#include <netinet/in.h>
#include <nlohmann/json.hpp>

#include "cli/scenario_reader.h"
#include "lib/dns/name.h"

namespace sluice::cli {
namespace {

using nlohmann::json;

constexpr std::uint32_t kTtlMax = 0x7fffffff;
constexpr std::uint32_t kTtl = 30;
constexpr std::uint16_t kDnsPort = 53;

Result<std::uint32_t> number(const json& object, const char* key,
                             std::uint32_t otherwise, std::uint32_t most) {
  const auto it = object.find(key);
  if (it == object.end()) {
    return otherwise;
  }
  if (!it->is_number_integer() || *it < 0 || *it > most) {
    return fail(std::string(key) + ": not a number from 0 to " +
                std::to_string(most));
  }
  return it->get<std::uint32_t>();
}

Result<void> check_name(const std::string& text, const char* key) {
  const auto name = dns::Name::from_text(text);
  return name ? Result<void>()
              : fail(std::string(key) + ": \"" + text + "\" " +
                     name.error().message);
}

// Members pod, server, protocol, port and name.
Result<DnsAsked> parse_asked(const json& object) {
  DnsAsked asked;
  const auto pod = object.find("pod");
  const auto name = object.find("name");
  if (pod == object.end() || name == object.end() || !name->is_string()) {
    return fail(pod == object.end() ? "pod: missing" : "name: not a string");
  }
  auto from = parse_end(json{{"pod", {{"pod", *pod}}}}, "pod");
  if (!from) {
    return std::unexpected(from.error());
  }
  auto server = parse_end(object, "server");
  if (!server) {
    return std::unexpected(server.error());
  }
  if (server->kind == ProbeEnd::Kind::kEntity) {
    return fail(
        "server: not one of {pod: ns/name}, {service: ns/name}, "
        "{ip: address}");
  }
  const auto port = number(object, "port", kDnsPort, 65535);
  if (!port) {
    return std::unexpected(port.error());
  }
  const auto protocol = object.value("protocol", json("UDP"));
  if (protocol != "UDP" && protocol != "TCP") {
    return fail("protocol: not TCP or UDP");
  }
  asked.name = name->get<std::string>();
  if (auto checked = check_name(asked.name, "name"); !checked) {
    return std::unexpected(checked.error());
  }
  asked.probe = {.from = std::move(*from),
                 .to = std::move(*server),
                 .protocol = static_cast<std::uint8_t>(
                     protocol == "UDP" ? IPPROTO_UDP : IPPROTO_TCP),
                 .port = static_cast<std::uint16_t>(*port)};
  return asked;
}

Result<ScenarioStep::Answer> parse_answer(const json& object) {
  static constexpr std::array kKnown{
      std::string_view("pod"),      std::string_view("server"),
      std::string_view("protocol"), std::string_view("port"),
      std::string_view("name"),     std::string_view("cname"),
      std::string_view("answers"),  std::string_view("ttl")};
  if (auto known = only_known(object, kKnown); !known) {
    return std::unexpected(known.error());
  }
  auto asked = parse_asked(object);
  if (!asked) {
    return std::unexpected(asked.error());
  }
  ScenarioStep::Answer answer{.asked = std::move(*asked)};
  const auto chain = texts_of(object, "cname");
  const auto addresses = texts_of(object, "answers");
  const auto ttl = number(object, "ttl", kTtl, kTtlMax);
  for (const Error* error : {chain ? nullptr : &chain.error(),
                             addresses ? nullptr : &addresses.error(),
                             ttl ? nullptr : &ttl.error()}) {
    if (error != nullptr) {
      return std::unexpected(*error);
    }
  }
  for (const auto& name : *chain) {
    if (auto checked = check_name(name, "cname"); !checked) {
      return std::unexpected(checked.error());
    }
  }
  answer.cname = *chain;
  for (const auto& text : *addresses) {
    const auto address = parse_ip(text);
    if (!address) {
      return fail("answers: not an address: " + text);
    }
    answer.addresses.push_back(*address);
  }
  answer.ttl_s = *ttl;
  return answer;
}

Result<ScenarioStep::MayAsk> parse_may_ask(const json& object) {
  static constexpr std::array kKnown{
      std::string_view("pod"),      std::string_view("server"),
      std::string_view("protocol"), std::string_view("port"),
      std::string_view("name"),     std::string_view("expect")};
  if (auto known = only_known(object, kKnown); !known) {
    return std::unexpected(known.error());
  }
  auto asked = parse_asked(object);
  if (!asked) {
    return std::unexpected(asked.error());
  }
  const auto expect = object.value("expect", json());
  if (expect != "allow" && expect != "refused") {
    return fail("expect: not allow or refused");
  }
  return ScenarioStep::MayAsk{.asked = std::move(*asked),
                              .expected = expect == "allow"};
}

template <typename T>
Result<std::optional<ScenarioStep>> step_of(Result<T> parsed, const char* key) {
  if (!parsed) {
    return fail(std::string(key) + "." + parsed.error().message);
  }
  return std::optional(ScenarioStep{.what = std::move(*parsed)});
}

}  // namespace

Result<std::optional<ScenarioStep>> parse_step(const json& element) {
  if (!element.is_object() || element.size() != 1) {
    return std::nullopt;
  }
  const auto& key = element.begin().key();
  const json& value = element.begin().value();
  if ((key == "dns" || key == "question") && !value.is_object()) {
    return fail(key + ": not an object");
  }
  if (key == "dns") {
    return step_of(parse_answer(value), "dns");
  }
  if (key == "question") {
    return step_of(parse_may_ask(value), "question");
  }
  if (key == "wait") {
    const auto seconds = number(element, "wait", 0, kTtlMax);
    if (!seconds) {
      return std::unexpected(seconds.error());
    }
    return std::optional(
        ScenarioStep{.what = ScenarioStep::Wait{.seconds = *seconds}});
  }
  return std::nullopt;
}

}  // namespace sluice::cli
