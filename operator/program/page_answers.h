// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "lib/base/loop.h"
#include "lib/policy/translator.h"
#include "operator/cluster_store.h"
#include "operator/program/query_server.h"

namespace sluice::operatord {

// Answers questions of the web page that need no node: "/api/namespaces" and
// "/api/reach?namespace=&port=", as the page's own server gives them
// (lib/ui/server.h).
//
// A matrix takes the loop some hundred milliseconds at most: larger ones are
// refused. After each one the loop is left to other work for a multiple of its
// time; further questions wait. Belongs to the loop's thread, and must be
// destroyed before the loop.
class PageAnswers {
 public:
  // All of them must outlive it.
  PageAnswers(Loop& loop, const policy::Translator& translator,
              const op::ClusterStore& store)
      : loop_(&loop), translator_(&translator), store_(&store) {}

  static bool answers(const std::string& path);
  void ask(const QueryServer::Question& question, QueryServer::Done done);

 private:
  struct Matrix {
    std::string ns;
    std::vector<std::string> ports;
    QueryServer::Clock::time_point until;
    QueryServer::Done done;
  };
  void turn();
  [[nodiscard]] QueryServer::Reply answer(const Matrix& matrix) const;

  Loop* loop_;
  const policy::Translator* translator_;
  const op::ClusterStore* store_;
  std::deque<Matrix> waiting_;
  bool rests_ = false;
  Timer timer_;
};

}  // namespace sluice::operatord
