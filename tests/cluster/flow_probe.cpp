// SPDX-License-Identifier: Apache-2.0
//
// A client of Hubble's API, for tests/cluster/flows_test.py: prints what it is
// given as lines of JSON, and then a line with the status.
//   flow_probe --address A --ca FILE --name N [--token T] [--count N] [CALL]
#include <chrono>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <google/protobuf/text_format.h>
#include <google/protobuf/util/json_util.h>
#include <grpcpp/grpcpp.h>

#include "observer.grpc.pb.h"

namespace {

struct Arguments {
  std::string address;
  std::string ca;  // file; empty: plain text
  std::string name;
  std::string authorization;
  std::string call = "GetFlows";
  std::string request;           // of GetFlows, as text
  std::size_t filter_bytes = 0;  // of a filter that is added
  int streams = 1;               // that are opened at once, and only then read
  int seconds = 60;
};

void print(const google::protobuf::Message& message) {
  std::string text;
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  (void)google::protobuf::util::MessageToJsonString(message, &text, options);
  std::cout << text << '\n' << std::flush;
}

int report(const grpc::Status& status) {
  std::cout << "status " << status.error_code() << " " << status.error_message()
            << '\n'
            << std::flush;
  return 0;
}

std::unique_ptr<grpc::ClientContext> context(const Arguments& arguments) {
  auto result = std::make_unique<grpc::ClientContext>();
  result->set_deadline(std::chrono::system_clock::now() +
                       std::chrono::seconds(arguments.seconds));
  if (!arguments.authorization.empty()) {
    result->AddMetadata("authorization", arguments.authorization);
  }
  return result;
}

int flows(const Arguments& arguments,
          const std::vector<std::unique_ptr<observer::Observer::Stub>>& stubs) {
  observer::GetFlowsRequest request;
  if (!google::protobuf::TextFormat::ParseFromString(arguments.request,
                                                     &request)) {
    return 2;
  }
  if (arguments.filter_bytes > 0) {
    request.add_whitelist()->add_source_fqdn(
        std::string(arguments.filter_bytes, 'x'));
  }
  struct Stream {
    std::unique_ptr<grpc::ClientContext> context;
    std::unique_ptr<grpc::ClientReader<observer::GetFlowsResponse>> reader;
  };
  std::vector<Stream> streams;
  for (int i = 0; i < arguments.streams; ++i) {
    auto& stream = streams.emplace_back();
    stream.context = context(arguments);
    stream.reader = stubs[static_cast<std::size_t>(i) % stubs.size()]->GetFlows(
        stream.context.get(), request);
  }
  for (auto& stream : streams) {
    observer::GetFlowsResponse response;
    while (stream.reader->Read(&response)) {
      print(response);
    }
    report(stream.reader->Finish());
  }
  return 0;
}

template <typename Request, typename Response, typename Call>
int unary(const Arguments& arguments, const Call& call) {
  Response response;
  const auto calling = context(arguments);
  const auto status = call(calling.get(), Request(), &response);
  if (status.ok()) {
    print(response);
  }
  return report(status);
}

int run(const Arguments& arguments) {
  auto credentials = grpc::InsecureChannelCredentials();
  if (!arguments.ca.empty()) {
    std::stringstream text;
    text << std::ifstream(arguments.ca).rdbuf();
    credentials = grpc::SslCredentials({.pem_root_certs = text.str(),
                                        .pem_private_key = {},
                                        .pem_cert_chain = {}});
  }
  grpc::ChannelArguments channel;
  channel.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  if (!arguments.name.empty()) {
    channel.SetSslTargetNameOverride(arguments.name);
  }
  // A connection takes so many calls.
  constexpr int kCallsPerConnection = 50;
  std::vector<std::unique_ptr<observer::Observer::Stub>> stubs;
  for (int i = 0; i < arguments.streams; i += kCallsPerConnection) {
    stubs.push_back(observer::Observer::NewStub(
        grpc::CreateCustomChannel(arguments.address, credentials, channel)));
  }
  auto& stub = *stubs[0];
  if (arguments.call == "ServerStatus") {
    return unary<observer::ServerStatusRequest, observer::ServerStatusResponse>(
        arguments,
        [&](const auto&... all) { return stub.ServerStatus(all...); });
  }
  if (arguments.call == "GetNodes") {
    return unary<observer::GetNodesRequest, observer::GetNodesResponse>(
        arguments, [&](const auto&... all) { return stub.GetNodes(all...); });
  }
  if (arguments.call == "GetNamespaces") {
    return unary<observer::GetNamespacesRequest,
                 observer::GetNamespacesResponse>(
        arguments,
        [&](const auto&... all) { return stub.GetNamespaces(all...); });
  }
  return flows(arguments, stubs);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("A client of Hubble's API", "flow_probe");
  Arguments arguments;
  app.add_option("--address", arguments.address)->required();
  app.add_option("--ca", arguments.ca);
  app.add_option("--name", arguments.name);
  app.add_option("--authorization", arguments.authorization);
  app.add_option("--request", arguments.request);
  app.add_option("--filter-bytes", arguments.filter_bytes);
  app.add_option("--streams", arguments.streams);
  app.add_option("--seconds", arguments.seconds);
  app.add_option("call", arguments.call);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  }
  return run(arguments);
}
