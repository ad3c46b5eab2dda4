// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <curl/curl.h>

#include "lib/kube/api/client.h"

// Shared by client.cpp (the lifetime of requests) and client_transfer.cpp (the
// options of a request for libcurl, and the meaning of its failures).
//
// Internal to the client.
namespace sluice::kube {

struct FreeMulti {
  void operator()(CURLM* multi) const { curl_multi_cleanup(multi); }
};
struct FreeEasy {
  void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
};
struct FreeList {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

class Client::Impl {
 public:
  Impl(Loop& loop, ClusterConfig config, ClientOptions options)
      : loop_(&loop),
        config_(std::move(config)),
        options_(std::move(options)) {}
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  Impl(Impl&&) = delete;
  Impl& operator=(Impl&&) = delete;
  ~Impl();

  Result<void> start();
  std::uint64_t begin(Request request, Reply reply, StreamHandler handler);
  void give_up(std::uint64_t id);

  [[nodiscard]] bool in_flight(std::uint64_t id) const {
    return transfers_.contains(id);
  }
  [[nodiscard]] Loop& loop() const { return *loop_; }
  [[nodiscard]] const ClusterConfig& config() const { return config_; }
  [[nodiscard]] const ClientStats& stats() const { return stats_; }

 private:
  struct Transfer {
    Impl* owner = nullptr;
    std::uint64_t id = 0;
    Request request;
    Reply reply;  // or, for a stream, none
    StreamHandler handler;
    std::unique_ptr<CURL, FreeEasy> easy;
    std::unique_ptr<curl_slist, FreeList> headers;
    std::unique_ptr<curl_slist, FreeList> connect_to;
    bool attached = false;   // to the multi handle
    bool receiving = false;  // the headers are there
    std::string body;
    std::string failure;  // why we ended it
    std::array<char, CURL_ERROR_SIZE> curl_error{};
    Loop::Clock::time_point deadline;
    Loop::Clock::time_point end;  // of a stream that is receiving
    Timer timer;

    [[nodiscard]] bool is_stream() const { return !reply; }
    // A part of the answer has arrived.
    void heard() {
      if (!is_stream()) {
        return;
      }
      const auto now = Loop::Clock::now();
      if (!receiving) {
        end = now + request.longest;
      }
      deadline = std::min(end, now + request.silence);
      if (!std::exchange(receiving, true)) {
        timer = owner->loop_->after(deadline - now,
                                    [this] { owner->check_time(id); });
      }
    }
    [[nodiscard]] int status() const;
    [[nodiscard]] ApiError error(std::string_view what) const;
    [[nodiscard]] ApiError http_error() const;
  };

  Result<void> set_up(Transfer& transfer);
  Result<void> set_up_tls(Transfer& transfer);
  Result<void> set_up_headers(Transfer& transfer);
  static void set_up_method(Transfer& transfer);

  static int on_socket(CURL* easy, curl_socket_t fd, int what, void* self,
                       void* socket);
  static int on_timer(CURLM* multi, long timeout_ms, void* self);
  static std::size_t on_header(char* data, std::size_t size, std::size_t count,
                               void* transfer);
  static std::size_t on_body(char* data, std::size_t size, std::size_t count,
                             void* transfer);
  static int on_connect(void* self, curl_socket_t fd, curlsocktype purpose);

  void act(curl_socket_t fd, int what);
  void collect();
  void count(const Transfer& transfer);
  void check_time(std::uint64_t id);
  void finish(std::uint64_t id, ApiResult<void> result);
  void detach(Transfer& transfer);

  Loop* loop_;
  ClusterConfig config_;
  ClientOptions options_;
  ClientStats stats_;
  std::unordered_map<std::uint64_t, std::unique_ptr<Transfer>> transfers_;
  std::vector<curl_socket_t> sockets_;  // that the loop watches for us
  Timer curl_timer_;
  std::uint64_t next_id_ = 1;
  // After a transport failure: connections in the pool may be dead unnoticed,
  // so a new one is opened.
  bool distrust_pool_ = false;
  // The last member, so that it is destroyed first, because closing connections
  // calls back.
  std::unique_ptr<CURLM, FreeMulti> multi_;
};

}  // namespace sluice::kube
