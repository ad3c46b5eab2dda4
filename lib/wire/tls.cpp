// SPDX-License-Identifier: Apache-2.0
#include "lib/wire/tls.h"

#include <ctime>
#include <memory>
#include <string>
#include <utility>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "lib/base/ip.h"

namespace sluice::wire {
namespace {

template <auto Free>
struct Deleter {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};
using Key = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Deleter<X509_free>>;
using Bio = std::unique_ptr<BIO, Deleter<BIO_free_all>>;
using Extension = std::unique_ptr<X509_EXTENSION, Deleter<X509_EXTENSION_free>>;

constexpr int kSerialBits = 127;
constexpr long kVersion3 = 2;
constexpr long kBackdateSeconds = 3600;

std::unexpected<Error> fail_openssl(const std::string& what) {
  const auto code = ERR_get_error();
  ERR_clear_error();
  const char* reason = code == 0 ? nullptr : ERR_reason_error_string(code);
  return fail(reason == nullptr ? what : what + ": " + reason);
}

// Prevents a prompt for a passphrase on the terminal.
int no_password(char* /*buffer*/, int /*size*/, int /*writing*/,
                void* /*data*/) {
  return -1;
}

bool add_extension(X509* to, X509* issuer, int id, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, to, nullptr, nullptr, 0);
  const Extension extension(
      X509V3_EXT_conf_nid(nullptr, &context, id, value.c_str()));
  return extension && X509_add_ext(to, extension.get(), -1) == 1;
}

bool set_serial(X509* certificate) {
  using Number = std::unique_ptr<BIGNUM, Deleter<BN_free>>;
  const Number number(BN_new());
  return number &&
         BN_rand(number.get(), kSerialBits, BN_RAND_TOP_ONE,
                 BN_RAND_BOTTOM_ANY) == 1 &&
         BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) !=
             nullptr;
}

bool set_name(X509_NAME* name, const std::string& text) {
  return X509_NAME_add_entry_by_txt(
             name, "CN", MBSTRING_UTF8,
             reinterpret_cast<const unsigned char*>(text.data()),
             static_cast<int>(text.size()), -1, 0) == 1;
}

// Makes a certificate without extensions and signature.
Certificate blank(EVP_PKEY* key, const std::string& name,
                  std::chrono::seconds validity) {
  Certificate certificate(X509_new());
  if (!certificate || X509_set_version(certificate.get(), kVersion3) != 1 ||
      !set_serial(certificate.get()) ||
      !set_name(X509_get_subject_name(certificate.get()), name) ||
      X509_gmtime_adj(X509_getm_notBefore(certificate.get()),
                      -kBackdateSeconds) == nullptr ||
      X509_gmtime_adj(X509_getm_notAfter(certificate.get()),
                      validity.count()) == nullptr ||
      X509_set_pubkey(certificate.get(), key) != 1) {
    return nullptr;
  }
  return certificate;
}

Certificate make_ca(EVP_PKEY* key, std::chrono::seconds validity) {
  auto ca = blank(key, "sluice-operator CA", validity);
  auto* raw = ca.get();
  if (!ca || X509_set_issuer_name(raw, X509_get_subject_name(raw)) != 1 ||
      !add_extension(raw, raw, NID_basic_constraints,
                     "critical,CA:TRUE,pathlen:0") ||
      !add_extension(raw, raw, NID_key_usage, "critical,keyCertSign,cRLSign") ||
      !add_extension(raw, raw, NID_subject_key_identifier, "hash") ||
      X509_sign(raw, key, EVP_sha256()) == 0) {
    return nullptr;
  }
  return ca;
}

Certificate make_server(EVP_PKEY* key, X509* ca, EVP_PKEY* ca_key,
                        const std::string& names,
                        std::chrono::seconds validity) {
  auto server = blank(key, "sluice-operator", validity);
  auto* raw = server.get();
  if (!server || X509_set_issuer_name(raw, X509_get_subject_name(ca)) != 1 ||
      !add_extension(raw, ca, NID_basic_constraints, "critical,CA:FALSE") ||
      !add_extension(raw, ca, NID_key_usage, "critical,digitalSignature") ||
      !add_extension(raw, ca, NID_ext_key_usage, "serverAuth") ||
      !add_extension(raw, ca, NID_authority_key_identifier, "keyid") ||
      !add_extension(raw, ca, NID_subject_alt_name, names) ||
      X509_sign(raw, ca_key, EVP_sha256()) == 0) {
    return nullptr;
  }
  return server;
}

// "DNS:a,IP:10.0.0.1". The names are used in OpenSSL's own syntax, so they may
// contain only characters of names.
Result<std::string> alternative_names(const std::vector<std::string>& names) {
  constexpr const char* kAlphabet =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.*";
  std::string result;
  for (const auto& name : names) {
    const auto ip = parse_ip(name);
    if (!ip && (name.empty() ||
                name.find_first_not_of(kAlphabet) != std::string::npos)) {
      return fail("not a DNS name or an address: \"" + name + "\"");
    }
    result += (result.empty() ? "" : ",");
    result += (ip ? "IP:" : "DNS:") + name;
  }
  if (result.empty()) {
    return fail("a certificate needs a name");
  }
  return result;
}

template <typename Write>
Result<std::string> to_pem(Write write) {
  const Bio bio(BIO_new(BIO_s_mem()));
  if (!bio || write(bio.get()) != 1) {
    return fail_openssl("PEM");
  }
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<std::size_t>(size));
}

Result<Certificate> parse_certificate(const std::string& pem) {
  const Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  Certificate certificate(
      bio ? PEM_read_bio_X509(bio.get(), nullptr, no_password, nullptr)
          : nullptr);
  if (!certificate) {
    return fail_openssl("certificate");
  }
  return certificate;
}

}  // namespace

Result<TlsMaterial> make_self_signed_ca_and_server_cert(
    const std::vector<std::string>& dns_names, std::chrono::hours validity) {
  const auto names = alternative_names(dns_names);
  if (!names) {
    return std::unexpected(names.error());
  }
  const Key ca_key(EVP_EC_gen("P-256"));
  const Key key(EVP_EC_gen("P-256"));
  if (!ca_key || !key) {
    return fail_openssl("make a key");
  }
  const auto ca = make_ca(ca_key.get(), validity);
  const auto server =
      ca ? make_server(key.get(), ca.get(), ca_key.get(), *names, validity)
         : nullptr;
  if (!server) {
    return fail_openssl("make a certificate");
  }
  auto ca_pem =
      to_pem([&](BIO* bio) { return PEM_write_bio_X509(bio, ca.get()); });
  auto server_pem =
      to_pem([&](BIO* bio) { return PEM_write_bio_X509(bio, server.get()); });
  auto key_pem = to_pem([&](BIO* bio) {
    return PEM_write_bio_PrivateKey(bio, key.get(), nullptr, nullptr, 0,
                                    nullptr, nullptr);
  });
  for (const auto* pem : {&ca_pem, &server_pem, &key_pem}) {
    if (!*pem) {
      return std::unexpected(pem->error());
    }
  }
  return TlsMaterial{.ca_pem = std::move(*ca_pem),
                     .server = {.certificate_pem = std::move(*server_pem),
                                .key_pem = std::move(*key_pem)}};
}

Result<void> check_certificate(const TlsCertificate& certificate) {
  const auto parsed = parse_certificate(certificate.certificate_pem);
  if (!parsed) {
    return std::unexpected(parsed.error());
  }
  const auto& pem = certificate.key_pem;
  const Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  const Key key(
      bio ? PEM_read_bio_PrivateKey(bio.get(), nullptr, no_password, nullptr)
          : nullptr);
  if (!key) {
    return fail_openssl("private key");
  }
  if (X509_check_private_key(parsed->get(), key.get()) != 1) {
    ERR_clear_error();
    return fail("the private key is not the certificate's");
  }
  return {};
}

Result<std::chrono::system_clock::time_point> not_after(
    const std::string& certificate_pem) {
  const auto parsed = parse_certificate(certificate_pem);
  if (!parsed) {
    return std::unexpected(parsed.error());
  }
  std::tm time{};
  if (ASN1_TIME_to_tm(X509_get0_notAfter(parsed->get()), &time) != 1) {
    return fail_openssl("certificate: end of validity");
  }
  return std::chrono::system_clock::from_time_t(::timegm(&time));
}

}  // namespace sluice::wire
