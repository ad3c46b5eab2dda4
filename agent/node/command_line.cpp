// SPDX-License-Identifier: Apache-2.0
#include "agent/node/command_line.h"

#include <iostream>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <netinet/in.h>

#include "lib/base/ip.h"
#include "lib/base/log_option.h"
#include "lib/base/option_words.h"
#include "lib/base/printable.h"

namespace sluice::node {
namespace {

// An address, at port 53 if it has none.
std::optional<IpAndPort> parse_resolver(const std::string& text) {
  constexpr std::uint16_t kDnsPort = 53;
  if (const auto address = parse_ip(text)) {
    return IpAndPort{.address = *address, .port = kDnsPort};
  }
  const auto both = parse_ip_and_port(text);
  return both && both->port != 0 ? both : std::nullopt;
}

void add_resolver_option(CLI::App& command, agent::LearningOptions& options) {
  command
      .add_option_function<std::vector<std::string>>(
          "--fqdn-resolvers",
          [&options](const std::vector<std::string>& texts) {
            for (const auto& text : texts) {
              const auto server = parse_resolver(text);
              for (const std::uint8_t protocol : {IPPROTO_TCP, IPPROTO_UDP}) {
                options.resolvers.push_back({.address = server->address,
                                             .port = server->port,
                                             .protocol = protocol});
              }
            }
          },
          "DNS servers whose answers count beside those of kube-system's "
          "kube-dns, such as a cache on the node")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("IP[:PORT],...")
      ->check(CLI::Validator(
          [](const std::string& text) {
            return parse_resolver(text)
                       ? std::string()
                       : "\"" + text +
                             "\" is neither an IP address nor one "
                             "with a port, as in 10.0.0.10:53 or [fd00::10]:53";
          },
          ""))
      ->group("Names");
}

void add_name_options(CLI::App& command, agent::LearningOptions& options) {
  constexpr std::uint32_t kSecondsMax = SLUICE_NAME_TTL_MAX;
  const auto seconds = [&](const char* name, std::uint32_t& value,
                           const char* what) {
    command.add_option(name, value, what)
        ->type_name("SECONDS")
        ->check(CLI::Range(0U, kSecondsMax).description(""))
        ->capture_default_str()
        ->group("Names");
  };
  seconds("--fqdn-min-ttl", options.ttl_min,
          "How long an address of a DNS answer counts at least, whatever its "
          "TTL");
  seconds("--fqdn-grace", options.grace,
          "How long it counts after its TTL is over");
  command
      .add_option("--fqdn-addresses", options.addresses,
                  "Addresses that an endpoint can have learned at a time")
      ->type_name("N")
      ->check(CLI::Range(16U, 1U << 20U).description(""))
      ->capture_default_str()
      ->group("Names");
  static const std::map<std::string, sluice_dns_reject> rejections{
      {"refused", SLUICE_REJECT_REFUSED},
      {"name-error", SLUICE_REJECT_NAME_ERROR},
      {"drop", SLUICE_REJECT_DROP}};
  command
      .add_option(
          "--fqdn-reject", options.dns_reject,
          "What a pod gets for a DNS question that its policy does not allow: "
          "refused (the default: the answer REFUSED), name-error (the answer "
          "that there is no such name, for programs that give up at REFUSED) "
          "or drop (no answer). Over TCP, the first two reset the connection")
      ->transform(one_of(rejections))
      ->type_name("refused|name-error|drop")
      ->group("Names");
  add_resolver_option(command, options);
}

}  // namespace

int complain(std::string_view what) {
  std::cerr << "error: " << printable(what) << '\n';
  return kExitError;
}

void add_socket_option(CLI::App& command, std::filesystem::path& socket) {
  socket = kDefaultSocket;
  command
      .add_option("--socket", socket,
                  std::string("Socket of the running program; default ") +
                      kDefaultSocket)
      ->envname("SLUICE_SOCKET")
      ->type_name("PATH");
}

void add_pin_dir_option(CLI::App& command, std::filesystem::path& pin_dir) {
  pin_dir = kDefaultPinDir;
  command
      .add_option("--pin-dir", pin_dir,
                  std::string("Folder of a BPF file system that holds maps and "
                              "programs; default ") +
                      kDefaultPinDir)
      ->envname("SLUICE_PIN_DIR")
      ->type_name("DIR");
}

void add_agent_options(CLI::App& command, agent::AgentOptions& options) {
  add_log_level_option(command);
  static const std::map<std::string, std::uint32_t> changes{
      {"reevaluate", SLUICE_CHANGE_REEVALUATE},
      {"continue", SLUICE_CHANGE_CONTINUE},
      {"reset", SLUICE_CHANGE_RESET}};
  static const std::map<std::string, bool> events{{"all", true},
                                                  {"drops", false}};
  command
      .add_option(
          "--on-policy-change", options.on_policy_change,
          "What happens to established flows when policy changes: reevaluate "
          "(the default: they are judged again at their next packet), continue "
          "(they keep their verdict) or reset (they are judged again, and both "
          "ends of a denied TCP connection get a reset)")
      ->transform(one_of(changes))
      ->type_name("reevaluate|continue|reset");
  command
      .add_option("--events", options.events_new_flows,
                  "Report drops and every new flow (all, the default), or "
                  "drops only")
      ->transform(one_of(events))
      ->type_name("all|drops");
  command
      .add_option(
          "--events-per-second", options.events_per_second,
          "Limit of events per second and CPU; the others are only counted")
      ->type_name("N")
      ->check(CLI::Range(0U, UINT32_MAX).description(""))
      ->capture_default_str();
  add_name_options(command, options.learning);
}

void add_size_options(CLI::App& command, agent::DatapathOptions& sizes) {
  const auto size = [&](const char* name, std::uint32_t& value,
                        const char* what) {
    command.add_option(name, value, what)
        ->type_name("N")
        ->check(CLI::Range(1U, 1U << 26U).description(""))
        ->capture_default_str()
        ->group("Sizes");
  };
  size("--policy-entries", sizes.policy_entries, "Entries of the policy map");
  size("--peers", sizes.peers, "Peer addresses, of each family");
  size("--prefixes", sizes.prefixes, "Peer prefixes, of each family");
  size("--conntrack", sizes.conntrack, "Entries of conntrack, of each family");
  size("--names", sizes.names, "DNS names known to the node");
  size("--fragments", sizes.fragments,
       "Fragmented datagrams tracked, of each family");
}

}  // namespace sluice::node
