// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/label_selector.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace sluice::flow {
namespace {

const std::vector<std::string> kLabels{"k8s:app=web", "k8s:empty",
                                       "k8s:tier=front", "reserved:host"};

bool matches(const std::string& text) {
  const auto selector = LabelSelector::parse(text);
  EXPECT_TRUE(selector) << text;
  return selector && selector->matches(kLabels);
}

TEST(FlowLabelSelector, Requirements) {
  for (const char* text :
       {"", "app", "app=web", "app==web", "app = web", "app=web,tier=front",
        "app in (api, web)", "app notin (api)", "app!=api", "!other",
        "other!=x", "other notin (x,y)", "empty", "empty=", "k8s:app=web",
        "any:app", "k8s:app in (web), !any:x", "reserved:host"}) {
    EXPECT_TRUE(matches(text)) << text;
  }
  for (const char* text : {"other", "app=api", "app=", "app=web,tier=back",
                           "app in (api)", "app notin (api,web)", "app!=web",
                           "!app", "cilium:app=web", "reserved:app"}) {
    EXPECT_FALSE(matches(text)) << text;
  }
}

TEST(FlowLabelSelector, ErrorsNameWhatIsWrong) {
  for (const auto& [text, error] :
       std::vector<std::pair<std::string, std::string>>{
           {"=x", "a key expected, not '='"},
           {"app in web", "'(' expected"},
           {"app in (web", "')' expected"},
           {"app in ()", "a value expected, not ')'"},
           {"app web", "not 'web'"},
           {"app,", "at the end"},
           {"!app=web", "not '='"},
           {"app=web)", "not ')'"}}) {
    const auto selector = LabelSelector::parse(text);
    ASSERT_FALSE(selector) << text;
    EXPECT_NE(selector.error().message.find(error), std::string::npos)
        << selector.error().message;
  }
}

}  // namespace
}  // namespace sluice::flow
