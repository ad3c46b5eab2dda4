// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "lib/base/result.h"
#include "lib/flow/filter.h"
#include "lib/flow/flow_mask.h"
#include "lib/flow/store.h"
#include "observer.pb.h"

namespace sluice::flow {

// Refuses filters that are too large; see Filters::check_size().
Result<void> check_filters(const ::observer::GetFlowsRequest& request);
// The filters of a request; see Filters::compile().
Result<Filters> compile_filters(const ::observer::GetFlowsRequest& request,
                                const std::string& node);

// What a request wants of a store, in the order in which it is sent.
//
// Without `since`, it begins with the last `number` flows that match, with all
// if `number` is 0, and with those to come if it only follows. With `first`, it
// begins with the oldest flow. Events that the kernel or the store has lost are
// told whatever the filters are, and do not count as flows.
//
// For one thread. The store must outlive it.
class FlowCursor {
 public:
  // An invalid request is an error. `node`: the name of this node.
  // `namespaces`: if there are any, only flows with an end in one of them.
  static Result<FlowCursor> open(
      const Store& store, const ::observer::GetFlowsRequest& request,
      const std::string& node, const std::vector<std::string>& namespaces = {});

  enum class Step : std::uint8_t {
    kMessage,  // `response` is the next one
    kBusy,     // none yet: there are more records to look at
    kWait,     // there may be more later
    kEnd,
  };
  // Looks at a few records only, so that the caller can stop between calls:
  // with many filters, a whole store takes seconds.
  Step next(::observer::GetFlowsResponse& response);

 private:
  FlowCursor(const Store& store, const ::observer::GetFlowsRequest& request,
             Filters filters, FlowMask mask, std::string node);
  void find_beginning(const ::observer::GetFlowsRequest& request);
  void search_back();
  Step read_on(::observer::GetFlowsResponse& response);
  // Has more to look at after kBusy.
  Step refill();
  // False if the record is none that is wanted.
  bool give(const Record& record, ::observer::GetFlowsResponse& response);

  const Store* store_;
  Filters filters_;
  FlowMask mask_;
  std::string node_;
  // Flows that are still to be found before those that have been found, if it
  // begins with the last ones; and the record down to which all have been
  // looked at.
  std::uint64_t wanted_ = 0;
  std::uint64_t searched_ = 0;
  std::uint64_t place_ = 1;      // of what is read next
  std::deque<Record> records_;   // read and not sent
  std::uint64_t lost_ = 0;       // not told yet
  std::int64_t read_until_ = 0;  // time of the last record that was read
  std::uint64_t left_ = 0;       // flows that may still be sent; 0: any number
  std::int64_t until_ = 0;       // 0: never
  bool bounded_ = false;         // `left_` counts
  bool follow_ = false;
};

}  // namespace sluice::flow
