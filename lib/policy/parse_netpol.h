// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lib/policy/parse_context.h"
#include "lib/policy/rule.h"

// Internal to the parsers of Kubernetes' own kinds.
namespace sluice::policy {

// Selects pods of the namespaces that `namespaces` selects.
void add_namespace_selector(const Field& namespaces, LabelSelector& out,
                            Problems& problems);

}  // namespace sluice::policy
