// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/api/leader_elector.h"

#include <algorithm>
#include <utility>

#include <nlohmann/json.hpp>

#include "lib/kube/api/backoff.h"
#include "lib/kube/api/json_fields.h"
#include "lib/kube/api/requests.h"
#include "lib/kube/api/resource.h"

namespace sluice::kube {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using Clock = Loop::Clock;

// Upper limit for a lease's duration, so that a wrong number cannot block the
// election.
constexpr std::int64_t kMaxLeaseSeconds = 3600;

const Resource& leases() {
  static const Resource resource{.group = "coordination.k8s.io",
                                 .versions = {"v1"},
                                 .plural = "leases",
                                 .kind = "Lease"};
  return resource;
}

std::int64_t number_of(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_number_integer()
             ? found->get<std::int64_t>()
             : 0;
}

json spec_of(const json& lease) {
  const auto spec = lease.find("spec");
  return spec != lease.end() && spec->is_object() ? *spec : json::object();
}

}  // namespace

class LeaderElector::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(Client& client, LeaderElectorOptions options, Handler handler)
      : client_(&client),
        options_(std::move(options)),
        handler_(std::move(handler)),
        path_(resource_path(leases(), "v1", options_.ns, options_.name)) {}

  void start() {
    if (stopped_) {
      stopped_ = false;
      look();
    }
  }
  void stop() {
    stopped_ = true;
    call_.cancel();
    next_.cancel();
    deadline_.cancel();
  }
  void release(std::function<void()> done);

  [[nodiscard]] bool leads() const {
    return leads_ && Clock::now() - renewed_ < options_.renew_deadline;
  }
  [[nodiscard]] const std::string& leader() const { return leader_; }
  [[nodiscard]] const std::string& error() const { return error_; }

 private:
  void look();
  void found(ApiResult<json> lease);
  void take(json lease);
  void written(ApiResult<json> lease);
  void observe(const json& spec);
  [[nodiscard]] bool is_free(const json& spec) const;
  [[nodiscard]] json mine(const json& spec) const;
  void give_back(ApiResult<json> lease);

  void later();
  void step_up();
  void step_down();
  void finish_release();
  [[nodiscard]] Request request(Method method, std::string path,
                                const json& body) const;

  Client* client_;
  LeaderElectorOptions options_;
  Handler handler_;
  std::string path_;
  std::string error_;
  std::string leader_;

  bool stopped_ = true;
  bool leads_ = false;
  Clock::time_point renewed_;      // when the last good renewal was asked for
  Clock::time_point asked_;        // when the one under way was
  json observed_;                  // the lease's spec, as last seen,
  Clock::time_point observed_at_;  // and since when it has been like that
  std::function<void()> released_;
  Call call_;
  Timer next_;
  Timer deadline_;
};

// An answer after the deadline is useless.
Request LeaderElector::Impl::request(Method method, std::string path,
                                     const json& body) const {
  return Request{.method = method,
                 .path = std::move(path),
                 .body = body.is_null() ? std::string() : body.dump(),
                 .purpose = "lease " + options_.ns + "/" + options_.name,
                 .timeout = options_.renew_deadline / 2};
}

void LeaderElector::Impl::look() {
  call_ =
      send_object(*client_, request(Method::kGet, path_, nullptr),
                  [this](ApiResult<json> lease) { found(std::move(lease)); });
}

void LeaderElector::Impl::found(ApiResult<json> lease) {
  if (lease) {
    take(std::move(*lease));
    return;
  }
  if (lease.error().status != 404) {
    error_ = lease.error().message;
    later();
    return;
  }
  asked_ = Clock::now();
  const json made{
      {"apiVersion", "coordination.k8s.io/v1"},
      {"kind", "Lease"},
      {"metadata", {{"namespace", options_.ns}, {"name", options_.name}}},
      {"spec", mine(json::object())}};
  call_ = send_object(
      *client_,
      request(Method::kPost, resource_path(leases(), "v1", options_.ns), made),
      [this](ApiResult<json> answer) { written(std::move(answer)); });
}

void LeaderElector::Impl::observe(const json& spec) {
  leader_ = text_of(spec, "holderIdentity");
  if (spec != observed_) {
    observed_ = spec;
    observed_at_ = Clock::now();
  }
}

// Uses our own clock: the time since the last observed change.
bool LeaderElector::Impl::is_free(const json& spec) const {
  const std::string holder = text_of(spec, "holderIdentity");
  if (holder.empty() || holder == options_.identity) {
    return true;
  }
  const std::int64_t seconds =
      std::min(number_of(spec, "leaseDurationSeconds"), kMaxLeaseSeconds);
  const milliseconds lasts =
      seconds > 0 ? std::chrono::seconds(seconds) : options_.lease_duration;
  return Clock::now() - observed_at_ >= lasts;
}

// Returns the spec with this replica as its holder from now on.
json LeaderElector::Impl::mine(const json& spec) const {
  const std::string now = micro_time(std::chrono::system_clock::now());
  const bool held = text_of(spec, "holderIdentity") == options_.identity;
  json result = spec;
  result["holderIdentity"] = options_.identity;
  // The field is in whole seconds; less than one would be refused.
  result["leaseDurationSeconds"] = std::max<std::int64_t>(
      1,
      std::chrono::ceil<std::chrono::seconds>(options_.lease_duration).count());
  result["renewTime"] = now;
  if (!held) {
    result["acquireTime"] = now;
    const bool first = text_of(spec, "renewTime").empty();
    result["leaseTransitions"] =
        number_of(spec, "leaseTransitions") + (first ? 0 : 1);
  }
  return result;
}

void LeaderElector::Impl::take(json lease) {
  const json spec = spec_of(lease);
  observe(spec);
  if (!is_free(spec)) {
    error_.clear();
    // Another replica has the lease: ours expired while we could not renew it.
    const auto self = shared_from_this();
    step_down();
    later();
    return;
  }
  asked_ = Clock::now();
  lease["spec"] = mine(spec);
  // metadata.resourceVersion is the one that we have read, so a concurrent
  // change causes a conflict.
  call_ = send_object(
      *client_, request(Method::kPut, path_, lease),
      [this](ApiResult<json> answer) { written(std::move(answer)); });
}

void LeaderElector::Impl::written(ApiResult<json> lease) {
  if (!lease) {
    error_ = lease.error().message;
    later();
    return;
  }
  error_.clear();
  const json spec = spec_of(*lease);
  observe(spec);
  if (text_of(spec, "holderIdentity") != options_.identity ||
      Clock::now() - asked_ >= options_.renew_deadline) {
    later();
    return;
  }
  renewed_ = asked_;
  deadline_ = client_->loop().after(
      renewed_ + options_.renew_deadline - Clock::now(), [this] {
        const auto self = shared_from_this();
        step_down();
      });
  const auto self = shared_from_this();
  step_up();
  later();
}

void LeaderElector::Impl::later() {
  if (stopped_) {
    return;
  }
  const milliseconds period = options_.retry_period;
  next_ = client_->loop().after(
      leads_ ? period : period + jitter(milliseconds{0}, period * 6 / 5),
      [this] { look(); });
}

void LeaderElector::Impl::step_up() {
  if (!std::exchange(leads_, true)) {
    handler_(true);
  }
}

void LeaderElector::Impl::step_down() {
  deadline_.cancel();
  if (std::exchange(leads_, false)) {
    handler_(false);
  }
}

void LeaderElector::Impl::release(std::function<void()> done) {
  const auto self = shared_from_this();
  const bool held = leader_ == options_.identity;
  stop();
  released_ = std::move(done);
  step_down();
  if (!held) {
    // Deferred, because the caller may be in the middle of an operation.
    deadline_ = client_->loop().after(Clock::duration::zero(),
                                      [this] { finish_release(); });
    return;
  }
  deadline_ = client_->loop().after(options_.renew_deadline,
                                    [this] { finish_release(); });
  // A renewal may have been in flight, so the last observed state may be out of
  // date.
  call_ = send_object(
      *client_, request(Method::kGet, path_, nullptr),
      [this](ApiResult<json> lease) { give_back(std::move(lease)); });
}

void LeaderElector::Impl::give_back(ApiResult<json> lease) {
  if (!lease ||
      text_of(spec_of(*lease), "holderIdentity") != options_.identity) {
    finish_release();
    return;
  }
  json spec = spec_of(*lease);
  const std::string now = micro_time(std::chrono::system_clock::now());
  spec["holderIdentity"] = "";
  spec["leaseDurationSeconds"] = 1;
  spec["renewTime"] = now;
  spec["acquireTime"] = now;
  (*lease)["spec"] = std::move(spec);
  call_ = send_object(*client_, request(Method::kPut, path_, *lease),
                      [this](const ApiResult<json>&) { finish_release(); });
}

void LeaderElector::Impl::finish_release() {
  call_.cancel();
  deadline_.cancel();
  leader_.clear();
  if (const auto done = std::exchange(released_, nullptr)) {
    done();
  }
}

LeaderElector::LeaderElector(Client& client, LeaderElectorOptions options,
                             Handler handler)
    : impl_(std::make_shared<Impl>(client, std::move(options),
                                   std::move(handler))) {}

LeaderElector::~LeaderElector() {
  impl_->stop();
}

void LeaderElector::start() {
  impl_->start();
}

void LeaderElector::release(std::function<void()> done) {
  impl_->release(std::move(done));
}

bool LeaderElector::leads() const {
  return impl_->leads();
}

const std::string& LeaderElector::leader() const {
  return impl_->leader();
}

const std::string& LeaderElector::error() const {
  return impl_->error();
}

}  // namespace sluice::kube
