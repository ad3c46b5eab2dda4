// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/filter.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstddef>
#include <optional>
#include <string_view>
#include <utility>

#include <google/protobuf/unknown_field_set.h>
#include <netinet/in.h>

#include "flow.pb.h"
#include "lib/base/ip.h"
#include "lib/base/protocol.h"
#include "lib/flow/label_selector.h"
#include "lib/flow/message.h"

namespace sluice::flow {
namespace {

namespace api = ::flow;

// Of all filters of a request together.
constexpr std::size_t kValuesMax = 1'000;
constexpr std::size_t kBytesMax = 32 << 10;
// Of a pattern for domain names, which are shorter than that.
constexpr std::size_t kPatternMax = 255;

using EndOf = const End& (*)(const Record&);

const End& source_of(const Record& record) {
  return *record.from;
}
const End& destination_of(const Record& record) {
  return *record.to;
}

std::string lower(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(), [](unsigned char c) {
    return static_cast<char>(std::tolower(c));
  });
  return result;
}

// `pattern` may have stars, each of which stands for any characters.
bool matches_pattern(std::string_view pattern, std::string_view text) {
  std::size_t at = 0;
  std::size_t in = 0;
  std::optional<std::pair<std::size_t, std::size_t>> star;
  while (in < text.size()) {
    if (at < pattern.size() && pattern[at] == '*') {
      star = {at++, in};
    } else if (at < pattern.size() && pattern[at] == text[in]) {
      ++at;
      ++in;
    } else if (star) {
      at = star->first + 1;
      in = ++star->second;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', at) == std::string_view::npos;
}

Result<IpPrefix> parse_address(const std::string& text) {
  if (const auto prefix = parse_prefix(text)) {
    return *prefix;
  }
  if (const auto address = parse_ip(text)) {
    return host_prefix(*address);
  }
  return fail("'" + text + "' is neither an address nor a CIDR");
}

Result<std::uint16_t> parse_port_number(const std::string& text) {
  std::uint16_t port = 0;
  const auto* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, port);
  if (error != std::errc() || stop != end) {
    return fail("'" + text + "' is not a port");
  }
  return port;
}

// "[namespace/]prefix"; without a namespace it is `default`, with an empty one
// any: "/" is any name anywhere.
struct NamePrefix {
  std::string ns;
  std::string prefix;

  [[nodiscard]] bool matches(const std::string& in,
                             const std::string& name) const {
    return (ns.empty() || ns == in) && name.starts_with(prefix);
  }
};

Result<NamePrefix> parse_name(const std::string& text) {
  const auto slash = text.find('/');
  NamePrefix name;
  if (slash == std::string::npos) {
    name = {.ns = "default", .prefix = text};
  } else {
    name = {.ns = text.substr(0, slash), .prefix = text.substr(slash + 1)};
  }
  if (text.empty()) {
    return fail("'" + text + "' is not of the form [namespace/][name]");
  }
  return name;
}

Result<std::string> parse_fqdn(const std::string& text) {
  auto pattern = lower(text);
  if (pattern.ends_with('.')) {
    pattern.pop_back();
  }
  const bool valid = !pattern.empty() && pattern.size() <= kPatternMax &&
                     std::ranges::all_of(pattern, [](unsigned char c) {
                       return std::isalnum(c) != 0 || c == '-' || c == '_' ||
                              c == '.' || c == '*';
                     });
  return valid ? Result<std::string>(std::move(pattern))
               : fail("'" + text + "' is no domain name or pattern");
}

// Protocol numbers that a word stands for.
Result<std::vector<std::uint8_t>> parse_protocol(const std::string& text) {
  const auto word = lower(text);
  if (word == "icmp") {
    return std::vector<std::uint8_t>{IPPROTO_ICMP, IPPROTO_ICMPV6};
  }
  if (word == "icmpv4") {
    return std::vector<std::uint8_t>{IPPROTO_ICMP};
  }
  if (word == "icmpv6") {
    return std::vector<std::uint8_t>{IPPROTO_ICMPV6};
  }
  if (word == "tcp") {
    return std::vector<std::uint8_t>{IPPROTO_TCP};
  }
  if (word == "udp") {
    return std::vector<std::uint8_t>{IPPROTO_UDP};
  }
  if (word == "sctp") {
    return std::vector<std::uint8_t>{IPPROTO_SCTP};
  }
  return fail("protocol '" + text +
              "': only tcp, udp, sctp, icmp, icmpv4 and "
              "icmpv6 are seen");
}

Result<std::uint32_t> parse_interface(const api::NetworkInterface& wanted) {
  if (!wanted.name().empty()) {
    return fail("'" + wanted.name() +
                "': names of interfaces are not known, only indexes");
  }
  return wanted.index();
}

std::uint8_t flag_bits(const api::TCPFlags& flags) {
  return static_cast<std::uint8_t>(
      (flags.fin() ? 0x01 : 0) | (flags.syn() ? 0x02 : 0) |
      (flags.rst() ? 0x04 : 0) | (flags.psh() ? 0x08 : 0) |
      (flags.ack() ? 0x10 : 0) | (flags.urg() ? 0x20 : 0) |
      (flags.ece() ? 0x40 : 0) | (flags.cwr() ? 0x80 : 0));
}

Result<void> at_most(std::size_t max, std::size_t count, const char* what) {
  if (count > max) {
    return fail("too many filters: " + std::to_string(count) + " " + what +
                ", limit " + std::to_string(max));
  }
  return {};
}

// Also the requirements and values of a label selector: each of them but the
// first one has a comma in front.
std::size_t values_of(const api::FlowFilter& filter) {
  const auto* reflection = api::FlowFilter::GetReflection();
  std::vector<const google::protobuf::FieldDescriptor*> set;
  reflection->ListFields(filter, &set);
  std::size_t values = 0;
  for (const auto* field : set) {
    values += static_cast<std::size_t>(reflection->FieldSize(filter, field));
  }
  for (const auto* selectors :
       {&filter.source_label(), &filter.destination_label()}) {
    for (const auto& selector : *selectors) {
      values += static_cast<std::size_t>(std::ranges::count(selector, ','));
    }
  }
  return values;
}

}  // namespace

// Collects the conditions of one filter.
class FilterCompiler {
 public:
  explicit FilterCompiler(const std::string& node) : node_(node) {}

  Result<Filters::Filter> compile(const api::FlowFilter& filter) {
    if (auto known = refuse_unknown(filter); !known) {
      return std::unexpected(known.error());
    }
    addresses("source_ip", filter.source_ip(),
              [](const Record& r) { return r.source; });
    addresses("destination_ip", filter.destination_ip(),
              [](const Record& r) { return r.destination; });
    end("source_", source_of, filter.source_pod(), filter.source_service(),
        filter.source_fqdn(), filter.source_label(), filter.source_workload(),
        filter.source_identity());
    end("destination_", destination_of, filter.destination_pod(),
        filter.destination_service(), filter.destination_fqdn(),
        filter.destination_label(), filter.destination_workload(),
        filter.destination_identity());
    ports("source_port", filter.source_port(),
          [](const Record& r) { return r.source_port; });
    ports("destination_port", filter.destination_port(),
          [](const Record& r) { return r.destination_port; });
    packets(filter);
    others(filter);
    if (!problem_.empty()) {
      return fail(problem_);
    }
    return std::move(conditions_);
  }

 private:
  template <typename Values, typename Parse, typename Holds>
  void any_of(const char* field, const Values& values, const Parse& parse,
              Holds holds) {
    if (values.empty()) {
      return;
    }
    std::vector<typename decltype(parse(*values.begin()))::value_type> parsed;
    for (const auto& value : values) {
      auto one = parse(value);
      if (!one) {
        problem(field, one.error().message);
        return;
      }
      parsed.push_back(std::move(*one));
    }
    conditions_.push_back([parsed = std::move(parsed),
                           holds = std::move(holds)](const Record& record) {
      return std::ranges::any_of(
          parsed, [&](const auto& value) { return holds(record, value); });
    });
  }

  // The same for values that need no parsing.
  template <typename Values, typename Holds>
  void any_value(const Values& values, Holds holds) {
    using Value = std::decay_t<decltype(*values.begin())>;
    any_of(
        "", values, [](const Value& value) { return Result<Value>(value); },
        std::move(holds));
  }

  void problem(const std::string& field, const std::string& what) {
    if (problem_.empty()) {
      problem_ = field + ": " + what;
    }
  }

  static Result<void> refuse_unknown(const api::FlowFilter& filter) {
    const auto* reflection = api::FlowFilter::GetReflection();
    std::vector<const google::protobuf::FieldDescriptor*> set;
    reflection->ListFields(filter, &set);
    std::string refused;
    const auto add = [&](const std::string& name) {
      refused += (refused.empty() ? "" : ", ") + name;
    };
    // What Sluice does not see: layer 7, tracing, encryption, other clusters.
    constexpr std::array<std::string_view, 13> kRefused{
        "http_status_code",
        "http_method",
        "http_path",
        "http_url",
        "http_header",
        "dns_query",
        "trace_id",
        "ip_trace_id",
        "encrypted",
        "source_ip_xlated",
        "node_labels",
        "source_cluster_name",
        "destination_cluster_name"};
    for (const auto* field : set) {
      if (std::ranges::find(kRefused, field->name()) != kRefused.end()) {
        add(field->name());
      }
    }
    const auto& unknown = reflection->GetUnknownFields(filter);
    for (int i = 0; i < unknown.field_count(); ++i) {
      add("field " + std::to_string(unknown.field(i).number()));
    }
    if (!refused.empty()) {
      return fail("filters are not supported: " + refused);
    }
    return {};
  }

  template <typename Values, typename Get>
  void addresses(const char* field, const Values& values, Get get) {
    any_of(field, values, parse_address,
           [get](const Record& record, const IpPrefix& prefix) {
             return record.ip && prefix.contains(get(record));
           });
  }

  template <typename Values, typename Get>
  void ports(const char* field, const Values& values, Get get) {
    any_of(field, values, parse_port_number,
           [get](const Record& record, std::uint16_t port) {
             return record.ip && !is_icmp(record.protocol) &&
                    get(record) == port;
           });
  }

  template <typename Texts, typename Workloads, typename Identities>
  void end(const std::string& prefix, EndOf end_of, const Texts& pods,
           const Texts& services, const Texts& fqdns, const Texts& labels,
           const Workloads& workloads, const Identities& identities) {
    any_of((prefix + "pod").c_str(), pods, parse_name,
           [end_of](const Record& record, const NamePrefix& name) {
             const auto& end = end_of(record);
             return !end.pod.empty() && name.matches(end.ns, end.pod);
           });
    any_of((prefix + "service").c_str(), services, parse_name,
           [end_of](const Record& record, const NamePrefix& name) {
             const auto& end = end_of(record);
             return !end.service.empty() && name.matches(end.ns, end.service);
           });
    any_of((prefix + "fqdn").c_str(), fqdns, parse_fqdn,
           [end_of](const Record& record, const std::string& pattern) {
             return std::ranges::any_of(end_of(record).names,
                                        [&](const std::string& name) {
                                          return matches_pattern(pattern, name);
                                        });
           });
    any_of((prefix + "label").c_str(), labels, LabelSelector::parse,
           [end_of](const Record& record, const LabelSelector& selector) {
             return selector.matches(end_of(record).labels);
           });
    any_value(workloads, [end_of](const Record& record,
                                  const api::Workload& workload) {
      const auto& end = end_of(record);
      return !end.workload.empty() &&
             (workload.name().empty() || workload.name() == end.workload) &&
             (workload.kind().empty() || workload.kind() == end.workload_kind);
    });
    any_value(identities,
              [end_of](const Record& record, std::uint32_t identity) {
                return end_of(record).identity == identity;
              });
  }

  void packets(const api::FlowFilter& filter) {
    any_of(
        "protocol", filter.protocol(), parse_protocol,
        [](const Record& record, const std::vector<std::uint8_t>& protocols) {
          return record.ip && std::ranges::find(protocols, record.protocol) !=
                                  protocols.end();
        });
    any_value(filter.tcp_flags(),
              [](const Record& record, const api::TCPFlags& flags) {
                const auto bits = flag_bits(flags);
                return record.ip && record.protocol == IPPROTO_TCP &&
                       !flags.ns() && (record.tcp_flags & bits) == bits;
              });
    any_value(filter.ip_version(), [](const Record& record, int version) {
      return record.ip ? version == (record.source.v6 ? api::IPv6 : api::IPv4)
                       : version == api::IP_NOT_USED;
    });
    any_value(filter.reply(), [](const Record& record, bool reply) {
      return record.reply == reply;
    });
    any_value(filter.traffic_direction(), [](const Record& record,
                                             int direction) {
      return direction ==
             (record.direction == SLUICE_EGRESS ? api::EGRESS : api::INGRESS);
    });
  }

  void others(const api::FlowFilter& filter) {
    any_value(filter.verdict(), [](const Record& record, int verdict) {
      return verdict == (record.allowed ? api::FORWARDED : api::DROPPED);
    });
    any_value(filter.drop_reason_desc(), [](const Record& record, int reason) {
      return !record.allowed && reason == drop_reason(record.reason);
    });
    any_value(filter.event_type(), [](const Record& record,
                                      const api::EventTypeFilter& wanted) {
      return std::ranges::any_of(event_types(record), [&](const auto& type) {
        return type && (wanted.type() == 0 || wanted.type() == type->type) &&
               (!wanted.match_sub_type() ||
                wanted.sub_type() == type->sub_type);
      });
    });
    any_of(
        "uuid", filter.uuid(),
        [](const std::string& uuid) {
          return Result<std::optional<FlowId>>(parse_uuid(uuid));
        },
        [](const Record& record, const std::optional<FlowId>& id) {
          return id == id_of(record);
        });
    any_of("interface", filter.interface(), parse_interface,
           [](const Record& record, std::uint32_t index) {
             return index == record.ifindex;
           });
    if (!filter.node_name().empty()) {
      const bool here = std::ranges::any_of(
          filter.node_name(), [&](const std::string& pattern) {
            const auto slash = pattern.find('/');
            if (slash == std::string::npos) {
              return matches_pattern(pattern, node_);
            }
            const auto name = pattern.substr(slash + 1);
            return matches_pattern(pattern.substr(0, slash), "default") &&
                   (name.empty() || matches_pattern(name, node_));
          });
      conditions_.emplace_back([here](const Record&) { return here; });
    }
  }

  const std::string& node_;
  Filters::Filter conditions_;
  std::string problem_;
};

Result<void> Filters::check_size(List white, List black) {
  if (auto few = at_most(kFiltersMax, white.size() + black.size(), "of them");
      !few) {
    return few;
  }
  std::size_t values = 0;
  std::size_t bytes = 0;
  for (const auto list : {white, black}) {
    for (const auto* filter : list) {
      values += values_of(*filter);
      bytes += filter->ByteSizeLong();
    }
  }
  if (auto few = at_most(kValuesMax, values, "values"); !few) {
    return few;
  }
  return at_most(kBytesMax, bytes, "bytes");
}

Result<Filters> Filters::compile(List white, List black,
                                 const std::string& node) {
  Filters filters;
  if (auto checked = check_size(white, black); !checked) {
    return std::unexpected(checked.error());
  }
  for (const auto& [list, to] :
       {std::pair{white, &filters.white_}, std::pair{black, &filters.black_}}) {
    for (const auto* filter : list) {
      auto compiled = FilterCompiler(node).compile(*filter);
      if (!compiled) {
        return std::unexpected(compiled.error());
      }
      to->push_back(std::move(*compiled));
    }
  }
  return filters;
}

bool Filters::matches(const Filter& filter, const Record& record) {
  return std::ranges::all_of(
      filter, [&](const Condition& holds) { return holds(record); });
}

void Filters::restrict_to(const std::vector<std::string>& namespaces) {
  namespaces_ = namespaces;
}

bool Filters::match(const Record& record) const {
  const auto is_named = [&](const End& end) {
    return std::ranges::find(namespaces_, end.ns) != namespaces_.end();
  };
  if (!namespaces_.empty() && !is_named(*record.from) &&
      !is_named(*record.to)) {
    return false;
  }
  const auto any = [&](const std::vector<Filter>& filters) {
    return std::ranges::any_of(
        filters, [&](const Filter& filter) { return matches(filter, record); });
  };
  return (white_.empty() || any(white_)) && !any(black_);
}

}  // namespace sluice::flow
