// SPDX-License-Identifier: Apache-2.0
// Questions to the server that this page came from.

const PATIENCE_MS = 15000;

/** The answer, as JSON. `query`: pairs of names and values, in their order. */
export async function get(path, query = []) {
  const text = new URLSearchParams(query).toString();
  const response = await fetch(`/api/${path}${text ? "?" + text : ""}`, {
    signal: AbortSignal.timeout(PATIENCE_MS), credentials: "omit", redirect: "error",
  });
  const answer = await response.json();
  if (!response.ok) throw Object.assign(new Error(answer.error ?? response.statusText), { status: response.status });
  return answer;
}
