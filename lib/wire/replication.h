// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/wire/protocol.h"

// Reports of the operator's replicas to the one that writes status: the
// progress of the agents connected to them.
namespace sluice::wire {

// A token that proves that its bearer is a replica: it is derived from the
// private key that only the replicas share. Sent over verified TLS only.
std::string replica_token(std::string_view key_pem);

struct ReportSenderOptions {
  std::string target;       // "10.0.0.1:9443"
  std::string server_name;  // in the certificate
  std::string ca_pem;       // what to trust; empty: plain text
  std::string token;        // replica_token()
  std::string replica;      // who says so
  std::chrono::milliseconds timeout{5'000};
};

// Sends reports to one other replica, one at a time. All members are called
// from the owner's thread; the handler is called from dispatch().
class ReportSender {
 public:
  struct Outcome {
    std::string problem;    // why it did not arrive; empty: it did
    bool tell_all = false;  // the next one is to have all nodes
    // Addresses that agents have found on their nodes, as far as not sent
    // before.
    std::vector<FoundAddresses> found = {};  // NOLINT(readability-redundant*)
    bool more = false;           // the next report brings more of these
    std::uint64_t sequence = 0;  // the sender's own
  };
  using Handler = std::function<void(const Outcome&)>;

  static Result<ReportSender> start(const ReportSenderOptions& options,
                                    Handler handler);
  ReportSender(ReportSender&&) noexcept;
  ReportSender& operator=(ReportSender&&) noexcept;
  ReportSender(const ReportSender&) = delete;
  ReportSender& operator=(const ReportSender&) = delete;
  ~ReportSender();  // gives up what is on its way; calls no handler

  // Readable when dispatch() has work.
  [[nodiscard]] int poll_fd() const;
  void dispatch();

  // True if a report is in flight; send() must not be called before its
  // outcome.
  [[nodiscard]] bool busy() const;
  // `nodes`: those that changed since the last report that arrived.
  void send(const std::vector<NodeReport>& nodes);

 private:
  ReportSender();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Limit for the nodes in one report.
inline constexpr std::size_t kReportNodesMax = 2'000;

}  // namespace sluice::wire
