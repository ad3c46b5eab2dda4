// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include <grpcpp/grpcpp.h>

namespace sluice::wire {

// For a client by hand: without TLS and without limits of its own, and not
// shared with another.
inline std::shared_ptr<grpc::Channel> raw_channel(const std::string& target) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetMaxSendMessageSize(-1);
  arguments.SetMaxReceiveMessageSize(-1);
  return grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(),
                                   arguments);
}

// Says who calls, and ends the call after this time, so that a test whose
// server does not end it fails.
inline void prepare(grpc::ClientContext& context, const std::string& token,
                    std::chrono::seconds limit) {
  context.AddMetadata("authorization", "Bearer " + token);
  context.set_deadline(std::chrono::system_clock::now() + limit);
}

// What `act` does with a stream, and how the stream ends; what comes after that
// is read and dropped.
template <typename Incoming, typename Stream, typename Act>
grpc::Status play(Stream& stream, const Act& act) {
  act(stream);
  Incoming rest;
  while (stream.Read(&rest)) {
  }
  return stream.Finish();
}

}  // namespace sluice::wire
