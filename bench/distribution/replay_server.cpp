// SPDX-License-Identifier: Apache-2.0
#include "bench/distribution/replay_server.h"

#include <algorithm>
#include <functional>
#include <thread>

namespace sluice::bench {
namespace {

using kube::test::HttpRequest;
using kube::test::Peer;

// The steps of a pod's life, and how many pods there are between two of them.
constexpr std::uint64_t kSteps = 6;
constexpr std::uint64_t kLag = 100;
// Lines are sent in chunks of about so many bytes.
constexpr std::size_t kChunk = std::size_t{64} << 10;
constexpr auto kTick = std::chrono::milliseconds(1);

constexpr std::string_view kNotFound =
    R"({"kind":"Status","code":404,"reason":"NotFound"})";
constexpr std::string_view kGoodToken =
    R"({"kind":"TokenReview","status":{"authenticated":true,"audiences":["sluice-operator"],"user":{"username":"system:serviceaccount:sluice-system:sluice-agent","extra":{"authentication.kubernetes.io/node-name":["$NODE$"]}}}})";

// Agents show the name of their node.
std::string good_token(const std::string& review) {
  constexpr std::string_view kNode = "$NODE$";
  constexpr std::string_view kToken = R"("token":")";
  const auto begin = review.find(kToken) + kToken.size();
  std::string text(kGoodToken);
  return text.replace(text.find(kNode), kNode.size(),
                      review.substr(begin, review.find('"', begin) - begin));
}

std::string event(const char* type, const std::string& object) {
  return R"({"type":")" + std::string(type) + R"(","object":)" + object + "}\n";
}

std::string items(int count, const std::function<std::string(int)>& item) {
  std::string text;
  for (int i = 0; i < count; ++i) {
    text += (i == 0 ? "" : ",") + item(i);
  }
  return text;
}

}  // namespace

ReplayServer::ReplayServer(const MadeCluster& cluster, const Times& times)
    : cluster_(cluster),
      times_(&times),
      server_([this](const HttpRequest& request, Peer& peer) {
        answer(request, peer);
      }) {}

std::string ReplayServer::list(const std::string& plural) const {
  const auto version = [](int i) { return 1 + static_cast<std::uint64_t>(i); };
  if (plural == "pods") {
    return items(cluster_.pods, [&](int i) {
      return pod_json(cluster_, {.number = i,
                                 .name = "pod" + std::to_string(i),
                                 .version = version(i),
                                 .ip = ip_text(kFirstPodAddress +
                                               static_cast<unsigned>(i))});
    });
  }
  if (plural == "nodes") {
    return items(cluster_.nodes,
                 [&](int i) { return node_json(i, version(i)); });
  }
  if (plural == "namespaces") {
    return items(cluster_.namespaces,
                 [&](int i) { return namespace_json(i, version(i)); });
  }
  if (plural == "services") {
    return items(cluster_.policies,
                 [&](int i) { return service_json(cluster_, i, version(i)); });
  }
  if (plural == "endpointslices") {
    return items(cluster_.policies,
                 [&](int i) { return slice_json(cluster_, i, version(i)); });
  }
  if (plural == "ciliumnetworkpolicies") {
    return items(cluster_.policies,
                 [&](int i) { return policy_json(cluster_, i, version(i)); });
  }
  return "";
}

void ReplayServer::answer(const HttpRequest& request, Peer& peer) {
  if (request.method != "GET" ||
      request.path.find("/leases") != std::string::npos) {
    answer_write(request, peer);
    return;
  }
  const std::string plural = request.path.substr(request.path.rfind('/') + 1);
  if (!request.is_watch()) {
    peer.reply(
        200,
        R"({"kind":"List","metadata":{"resourceVersion":"900"},"items":[)" +
            list(plural) + "]}");
    return;
  }
  if (plural == "pods") {
    watch_pods(peer);
    return;
  }
  peer.begin();
  peer.wait_gone();
}

// Tokens are good for their node, the lease is kept, and everything else is
// taken as it comes.
void ReplayServer::answer_write(const HttpRequest& request, Peer& peer) {
  const std::lock_guard guard(lock_);
  if (request.path.ends_with("/tokenreviews")) {
    peer.reply(201, good_token(request.body));
    return;
  }
  if (request.path.find("/leases") != std::string::npos) {
    if (request.method == "GET") {
      peer.reply(lease_.empty() ? 404 : 200,
                 lease_.empty() ? std::string(kNotFound) : lease_);
      return;
    }
    lease_ = request.body;
  }
  peer.reply(request.method == "POST" ? 201 : 200, request.body);
}

void ReplayServer::watch_pods(Peer& peer) {
  peer.begin();
  for (;;) {
    Phase phase;
    {
      std::unique_lock guard(lock_);
      changed_.wait(guard, [&] { return wanted_.has_value(); });
      phase = *wanted_;
      wanted_.reset();
    }
    const Sent sent = send(phase, peer);
    const std::lock_guard guard(lock_);
    done_ = sent;
    changed_.notify_all();
  }
}

Sent ReplayServer::run(const Phase& phase) {
  std::unique_lock guard(lock_);
  wanted_ = phase;
  done_.reset();
  changed_.notify_all();
  changed_.wait(guard, [&] { return done_.has_value(); });
  return *done_;
}

std::uint32_t ReplayServer::address_of(std::uint64_t number) const {
  return static_cast<std::uint32_t>((addresses_ + number) % kAddresses);
}

// In every slot another pod takes a step: pods follow each other kLag apart.
std::string ReplayServer::line_of_life(const Phase& phase, std::uint64_t slot,
                                       Nanoseconds due) {
  const std::uint64_t step = slot % kSteps;
  const std::uint64_t behind = step * kLag;
  if (slot / kSteps < behind) {
    return line({.mix = Mix::kStatus}, slot, due);
  }
  const std::uint64_t life = (slot / kSteps) - behind;
  const std::uint32_t address = address_of(life);
  MadePod pod{.number = static_cast<int>(
                  life % static_cast<std::uint64_t>(cluster_.pods)),
              .name = "life" + std::to_string(phase_number_) + "-" +
                      std::to_string(life),
              .version = version_++};
  pod.stray = phase.mix == Mix::kStray;
  pod.scheduled = step >= 1;
  pod.ip = step >= 2 ? ip_text(kFirstAddress + address) : "";
  pod.ending = step >= 3;
  pod.finished = step >= 4;
  if (step == 2) {
    (*times_)[address] = due;
  }
  const char* type = step == 0 ? "ADDED" : "MODIFIED";
  if (step == kSteps - 1) {
    type = "DELETED";
  }
  return event(type, pod_json(cluster_, pod));
}

std::string ReplayServer::line(const Phase& phase, std::uint64_t slot,
                               Nanoseconds due) {
  if (phase.mix == Mix::kLives || phase.mix == Mix::kStray) {
    return line_of_life(phase, slot, due);
  }
  const auto number =
      static_cast<int>(slot % static_cast<std::uint64_t>(cluster_.pods));
  std::uint32_t address = kFirstPodAddress + static_cast<unsigned>(number);
  if (phase.mix == Mix::kMoves) {
    const std::uint32_t index = address_of(slot);
    (*times_)[index] = due;
    address = kFirstAddress + index;
  }
  return event("MODIFIED",
               pod_json(cluster_, {.number = number,
                                   .name = "pod" + std::to_string(number),
                                   .version = version_++,
                                   .ip = ip_text(address)}));
}

Sent ReplayServer::send(const Phase& phase, Peer& peer) {
  ++phase_number_;
  Sent sent;
  const Nanoseconds start = now_ns();
  const auto length = static_cast<Nanoseconds>(phase.seconds * 1e9);
  const double per_ns = phase.rate / 1e9;
  const auto all = static_cast<std::uint64_t>(phase.rate * phase.seconds);
  bool there = true;
  // Whoever does not keep up gets at most as long again.
  for (Nanoseconds now = start;
       there && now < start + (phase.rate > 0 ? 2 : 1) * length &&
       (phase.rate == 0 || sent.events < all);
       now = now_ns()) {
    std::string text;
    const auto due_now =
        static_cast<std::uint64_t>(static_cast<double>(now - start) * per_ns);
    while (text.size() < kChunk &&
           (phase.rate == 0 || sent.events < std::min(due_now, all))) {
      const Nanoseconds due =
          phase.rate == 0
              ? now
              : start + static_cast<Nanoseconds>(
                            static_cast<double>(sent.events) / per_ns);
      text += line(phase, sent.events++, due);
    }
    if (text.empty()) {
      std::this_thread::sleep_for(kTick);
      continue;
    }
    sent.bytes += text.size();
    there = peer.chunk(text);
  }
  sent.seconds = static_cast<double>(now_ns() - start) / 1e9;
  end_lives(peer, sent.events);
  addresses_ += sent.events;
  return sent;
}

// What is still alive goes, so that each phase begins with the same pods.
void ReplayServer::end_lives(Peer& peer, std::uint64_t slots) {
  const std::uint64_t last = (slots / kSteps) + 1;
  const std::uint64_t reach = kSteps * kLag;
  for (std::uint64_t life = last > reach ? last - reach : 0; life < last;
       ++life) {
    peer.chunk(
        event("DELETED",
              pod_json(cluster_,
                       {.number = static_cast<int>(
                            life % static_cast<std::uint64_t>(cluster_.pods)),
                        .name = "life" + std::to_string(phase_number_) + "-" +
                                std::to_string(life),
                        .version = version_++})));
  }
}

}  // namespace sluice::bench
