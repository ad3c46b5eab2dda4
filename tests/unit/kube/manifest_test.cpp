// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/manifest.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

// Manifest files as JSON objects.
namespace sluice::kube::test {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

Manifest parse(std::string_view text) {
  return parse_manifest(text, "f.yaml");
}

std::vector<std::string> errors(std::string_view text) {
  std::vector<std::string> result;
  for (const Error& error : parse(text).errors) {
    result.push_back(error.message);
  }
  return result;
}

std::vector<std::string> notes(std::string_view text) {
  std::vector<std::string> result;
  for (const Error& note : parse(text).notes) {
    result.push_back(note.message);
  }
  return result;
}

// "kind/ns/name:line" of each object.
std::vector<std::string> objects(std::string_view text) {
  std::vector<std::string> result;
  for (const ManifestObject& object : parse(text).objects) {
    result.push_back(object.kind + "/" + object.ns + "/" + object.name + ":" +
                     std::to_string(object.line));
  }
  return result;
}

// The value of `v` in an object of one YAML document.
json value(const std::string& yaml) {
  const Manifest manifest = parse("apiVersion: v1\nkind: A\nv: " + yaml + "\n");
  if (manifest.objects.size() != 1) {
    ADD_FAILURE() << yaml << ": "
                  << (manifest.errors.empty() ? "nothing"
                                              : manifest.errors[0].message);
    return {};
  }
  return manifest.objects[0].object->value("v", json("absent"));
}

constexpr std::string_view kPod = R"(apiVersion: v1
kind: Pod
metadata:
  namespace: x
  name: )";

std::string pod(std::string_view name) {
  return std::string(kPod) + std::string(name) + "\n";
}

// ---- documents
// -----------------------------------------------------------------

TEST(Manifest, documents_with_their_lines) {
  EXPECT_THAT(
      objects(pod("a") + "---\n" + pod("b") + "--- # c\n\n# d\n" + pod("c")),
      ElementsAre("Pod/x/a:1", "Pod/x/b:7", "Pod/x/c:15"));
}

// Templates of a Helm chart that give nothing leave such documents.
TEST(Manifest, a_blank_or_comment_document_leaves_the_next_one_alone) {
  for (const char* nothing :
       {"---\n", "---\n# Source: chart/templates/b.yaml\n", "---\n\n\n",
        "---\n\n# c\n\n---\n---\n", "--- # c\n", "---# c\n# d\n",
        "---\r\n# c\r\n", "---\t\n  # c\n", "...\n---\n# c\n",
        "---\n%YAML 1.1\n---\n# c\n", "---\n~\n", "---\nnull\n"}) {
    const std::string text =
        "---\n# a\n" + pod("a") + nothing + "---\n# c\n" + pod("c");
    const auto lines = std::count(text.begin(), text.end(), '\n');
    EXPECT_THAT(
        objects(text),
        ElementsAre("Pod/x/a:3", "Pod/x/c:" + std::to_string(lines - 4)))
        << text;
    EXPECT_THAT(errors(text), IsEmpty()) << text;
  }
}

TEST(Manifest, a_comment_may_follow_the_marker_without_a_space) {
  EXPECT_THAT(objects(pod("a") + "---# c\n" + pod("b") + "---#\n" + pod("c")),
              ElementsAre("Pod/x/a:1", "Pod/x/b:7", "Pod/x/c:13"));
}

TEST(Manifest, text_behind_the_marker_belongs_to_its_document) {
  EXPECT_THAT(objects(pod("a") + "--- {apiVersion: v1, kind: B}\n"),
              ElementsAre("Pod/x/a:1", "B//:6"));
}

TEST(Manifest, byte_order_marks_of_files_put_behind_one_another) {
  EXPECT_THAT(objects("\xef\xbb\xbf" + pod("a") + "\xef\xbb\xbf---\n" +
                      pod("b") + "---\n\xef\xbb\xbf" + pod("c")),
              ElementsAre("Pod/x/a:1", "Pod/x/b:7", "Pod/x/c:13"));
}

// PowerShell's `>` writes it, and kubectl reads it.
TEST(Manifest, utf_16_with_its_mark) {
  std::string little = "\xff\xfe";
  std::string big = "\xfe\xff";
  for (const char16_t unit : std::u16string(u"apiVersion: v1\nkind: \u00e9")) {
    const auto low = static_cast<char>(unit & 0xff);
    const auto high = static_cast<char>(unit >> 8);
    little.append({low, high});
    big.append({high, low});
  }
  EXPECT_THAT(objects(little), ElementsAre("\xc3\xa9//:1"));
  EXPECT_THAT(objects(big), ElementsAre("\xc3\xa9//:1"));
  EXPECT_THAT(errors("\xff\xfe"
                     "a"),
              ElementsAre(HasSubstr("not UTF-16")));
}

TEST(Manifest, half_of_a_broken_document_is_nothing) {
  EXPECT_THAT(objects("apiVersion: v1\nkind: A\n%YAML 1.1\nspec: {}\n"),
              IsEmpty());
}

// What lies beside policies in a folder.
TEST(Manifest, documents_that_are_no_objects_are_noted) {
  EXPECT_THAT(
      notes("replicas: 3\n---\nresources:\n- a.yaml\n---\n- op: add\n"),
      ElementsAre(HasSubstr("f.yaml:1: ignored: no Kubernetes object"),
                  HasSubstr("f.yaml:3: ignored: no Kubernetes object"),
                  HasSubstr("f.yaml:6: ignored: no Kubernetes object")));
  EXPECT_THAT(errors("replicas: 3\n"), IsEmpty());
  // An object that has lost a part of its head is a mistake.
  EXPECT_THAT(errors("metadata: {name: a}\n"),
              ElementsAre(HasSubstr("apiVersion: must be set")));
  EXPECT_THAT(errors("kind: A\nmetadata: {}\n"),
              ElementsAre(HasSubstr("apiVersion: must be set")));
  // A Helm chart's Chart.yaml, and values that say what to make.
  EXPECT_THAT(notes("apiVersion: v2\nname: shop\n---\nkind: DaemonSet\n"),
              ElementsAre(HasSubstr("an object without kind and metadata"),
                          HasSubstr("without apiVersion and metadata")));
  EXPECT_THAT(errors("apiVersion: v2\n---\nkind: DaemonSet\n"), IsEmpty());
}

TEST(Manifest, what_kubectl_does_not_read_is_noted) {
  EXPECT_THAT(notes(pod("a") + "...\n" + pod("b") + "---\n" + pod("c")),
              ElementsAre(HasSubstr("f.yaml:7: kubectl reads nothing")));
}

TEST(Manifest, documents_without_content_are_nothing) {
  for (const char* text :
       {"", "\n\n", "---\n", "---\n---\n# a\n---", "# only a comment\n",
        "--- # a\n...\n", "null\n", "%YAML 1.1\n---\n"}) {
    EXPECT_THAT(objects(text), IsEmpty()) << text;
    EXPECT_THAT(errors(text), IsEmpty()) << text;
  }
}

TEST(Manifest, directives_byte_order_mark_and_windows_lines) {
  EXPECT_THAT(objects("%YAML 1.1\n---\n" + pod("a")), ElementsAre("Pod/x/a:3"));
  EXPECT_THAT(objects("\xef\xbb\xbf" + pod("a")), ElementsAre("Pod/x/a:1"));
  EXPECT_THAT(objects("---\r\napiVersion: v1\r\nkind: A\r\n---\r\n"
                      "apiVersion: v1\r\nkind: B\r\n"),
              ElementsAre("A//:2", "B//:5"));
}

TEST(Manifest, a_broken_document_spoils_only_itself) {
  const std::string text =
      pod("a") + "---\nkind: [\n---\n" + pod("c") + "---\na: b: c\n";
  EXPECT_THAT(objects(text), ElementsAre("Pod/x/a:1", "Pod/x/c:9"));
  EXPECT_THAT(errors(text),
              ElementsAre(HasSubstr("f.yaml:7: "), HasSubstr("f.yaml:15: ")));
}

TEST(Manifest, the_marker_within_a_block_scalar_needs_indentation) {
  const Manifest manifest =
      parse("apiVersion: v1\nkind: A\nv: |\n  ---\n  b\n");
  ASSERT_THAT(manifest.objects, SizeIs(1));
  EXPECT_EQ((*manifest.objects[0].object)["v"], "---\nb\n");
}

TEST(Manifest, an_end_marker_ends_a_document) {
  EXPECT_THAT(objects(pod("a") + "...\n# c\n" + pod("b") + "...\n---\n" +
                      pod("c") + "...\n"),
              ElementsAre("Pod/x/a:1", "Pod/x/b:8", "Pod/x/c:15"));
}

// kubectl drops such text without a word.
TEST(Manifest, text_after_a_document_is_an_error) {
  for (const char* text : {"\"a\",\"b\"\n", "{a: b}u]}\n", "[a] b\n"}) {
    EXPECT_THAT(errors(text), testing::Not(IsEmpty())) << text;
  }
}

// What follows a quote that is not closed would be lost: fields of a policy.
TEST(Manifest, text_that_ends_too_early_is_an_error) {
  for (const char* end : {"\"b", "'b", "'", "!!str \"b", "{c: \"b", "- 'b",
                          "'b''", "b: 1\n  c", "{b"}) {
    for (const char* rest :
         {"", "\n", "\n\n", "\n  ", "\r\n", "\n# c\n", "\n---\n# another\n"}) {
      const auto text =
          "apiVersion: v1\nkind: A\nv:\n  " + std::string(end) + rest;
      EXPECT_THAT(errors(text), SizeIs(1)) << text;
    }
  }
}

TEST(Manifest, lists_are_taken_apart) {
  EXPECT_THAT(objects("apiVersion: v1\nkind: List\nitems:\n"
                      "- apiVersion: v1\n  kind: A\n"
                      "- apiVersion: v1\n  kind: B\n  metadata: {name: b}\n"),
              ElementsAre("A//:4", "B//b:6"));
  EXPECT_THAT(objects("apiVersion: v1\nkind: PodList\nitems:\n"
                      "- metadata: {name: a}\n- metadata: {name: b}\n"),
              ElementsAre("Pod//a:4", "Pod//b:5"));
  EXPECT_THAT(objects("apiVersion: v1\nkind: List\nitems: []\n"), IsEmpty());
  EXPECT_THAT(errors("apiVersion: v1\nkind: List\nitems: {}\n"),
              ElementsAre("f.yaml:1: items: must be a list, is an object"));
  EXPECT_THAT(errors("apiVersion: v1\nkind: List\nitems:\n- 1\n"),
              ElementsAre("f.yaml:4: must be an object, is a number"));
}

TEST(Manifest, what_is_no_object_is_an_error) {
  EXPECT_THAT(
      notes("hello\n"),
      ElementsAre("f.yaml:1: ignored: no Kubernetes object, but a string"));
  EXPECT_THAT(
      notes("[]\n"),
      ElementsAre("f.yaml:1: ignored: no Kubernetes object, but a list"));
  EXPECT_THAT(errors("\nkind: A\nmetadata: {}\n"),
              ElementsAre("f.yaml:2: apiVersion: must be set to a string"));
  EXPECT_THAT(errors("apiVersion: v1\nkind: 1\n"),
              ElementsAre("f.yaml:1: kind: must be set to a string"));
  EXPECT_THAT(errors(std::string("a\n\0b", 4)),
              ElementsAre("f.yaml:2: not a text file"));
}

// ---- JSON
TEST(Manifest, what_is_not_utf_8_is_an_error_of_its_document) {
  for (const char* bytes : {"\x93", "\xc0\x80", "\xed\xa0\x80", "\xe2\x82",
                            "\xf4\x90\x80\x80", "\xff\xfe"}) {
    const std::string text = "a: 1\nb: " + std::string(bytes) + "\n---\n";
    EXPECT_THAT(errors(text + pod("a")), ElementsAre("f.yaml:2: not UTF-8"));
    EXPECT_THAT(objects(text + pod("a")), ElementsAre("Pod/x/a:4"));
  }
  EXPECT_EQ(value("\"\\u00e9\\U0001F600\""), "\u00e9\U0001F600");
}

// ------------------------------------------------------------------------

TEST(ManifestJson, one_or_several_objects_and_lists) {
  EXPECT_THAT(objects("{\"apiVersion\": \"v1\",\n \"kind\": \"A\"}\n"
                      "\n{\"apiVersion\": \"v1\", \"kind\": \"B\"}"),
              ElementsAre("A//:1", "B//:4"));
  EXPECT_THAT(objects("# c\n---\n{\"apiVersion\": \"v1\", \"kind\": \"A\"}\n"
                      "---\n{\"apiVersion\": \"v1\", \"kind\": \"B\"}\n"),
              ElementsAre("A//:3", "B//:5"));
  EXPECT_THAT(objects("{\"apiVersion\": \"v1\", \"kind\": \"List\",\n"
                      "\"items\": [\n{\"apiVersion\": \"v1\", \"kind\": \"A\"},"
                      "\n{\"apiVersion\": \"v1\", \"kind\": \"B\"}]}"),
              ElementsAre("A//:3", "B//:4"));
}

TEST(ManifestJson, escapes_and_numbers_are_those_of_json) {
  // YAML takes what JSON refuses.
  EXPECT_THAT(objects(R"({"apiVersion": "v1", "kind": "A", "n": 010})"),
              ElementsAre("A//:1"));
  const Manifest good = parse(
      R"({"apiVersion": "v1", "kind": "A", "s": "\ud83d\ude00\/", "n": 1e2,
          "yes": "yes"})");
  ASSERT_THAT(good.objects, SizeIs(1));
  EXPECT_EQ((*good.objects[0].object)["s"], "\xf0\x9f\x98\x80/");
  EXPECT_EQ((*good.objects[0].object)["n"], 100);
  EXPECT_EQ((*good.objects[0].object)["yes"], "yes");
}

TEST(ManifestJson, flow_style_yaml_may_begin_like_json) {
  EXPECT_THAT(objects("{apiVersion: v1, kind: A}\n"), ElementsAre("A//:1"));
}

TEST(ManifestJson, broken_text_is_an_error_with_its_line) {
  EXPECT_THAT(errors("{\"apiVersion\": \"v1\",\n\"kind\": \"A\"\n\"b\": 1}\n"),
              ElementsAre(HasSubstr("f.yaml:3: ")));
  EXPECT_THAT(
      notes("{\"a\": 1,\n \"a\": 2}\n"),
      testing::Contains("f.yaml:2: duplicate key \"a\": the last one counts"));
}

// ---- types of scalars
// ---------------------------------------------------------------

TEST(ManifestScalar, plain_ones_are_typed_by_yaml_1_1) {
  EXPECT_EQ(value("80"), 80);
  EXPECT_EQ(value("-7"), -7);
  EXPECT_EQ(value("+7"), 7);
  EXPECT_EQ(value("0"), 0);
  EXPECT_EQ(value("0x1F"), 31);
  EXPECT_EQ(value("010"), 8);
  EXPECT_EQ(value("0o10"), 8);
  EXPECT_EQ(value("0b11"), 3);
  EXPECT_EQ(value("1_000"), 1000);
  EXPECT_EQ(value("08"), 8);  // no octal number, so a decimal fraction
  EXPECT_EQ(value("1.5"), 1.5);
  EXPECT_EQ(value("1e3"), 1000);
  EXPECT_EQ(value(".5"), 0.5);
  for (const char* yes : {"true", "True", "yes", "on", "y", "Y"}) {
    EXPECT_EQ(value(yes), true) << yes;
  }
  for (const char* no : {"false", "FALSE", "no", "off", "n", "N"}) {
    EXPECT_EQ(value(no), false) << no;
  }
  for (const char* null : {"", "~", "null", "Null", "NULL"}) {
    EXPECT_EQ(value(null), nullptr) << null;
  }
}

TEST(ManifestScalar, plain_ones_of_no_other_type_are_strings) {
  for (const char* text :
       {"web", "10.0.0.0/8", ".5_0", "1.2.3", "0x", "0o8", "1e", "12a", "+",
        "2001-01-01", "12:30:45", "tRUE", "1e999", "0xfffffffffffffffff"}) {
    EXPECT_EQ(value(text), text);
  }
}

TEST(ManifestScalar, whole_numbers_keep_their_value_up_to_64_bits) {
  EXPECT_EQ(value("9223372036854775807"), INT64_MAX);
  EXPECT_EQ(value("-9223372036854775808"), INT64_MIN);
  EXPECT_EQ(value("18446744073709551615"), UINT64_MAX);
  EXPECT_EQ(value("18446744073709551616"), 18446744073709551616.0);
  EXPECT_TRUE(value("18446744073709551616").is_number_float());
}

TEST(ManifestScalar, quoted_ones_and_blocks_are_strings) {
  for (const char* text : {R"("80")", "'80'"}) {
    EXPECT_EQ(value(text), "80");
  }
  EXPECT_EQ(value("'yes'"), "yes");
  EXPECT_EQ(value("\"\""), "");
  EXPECT_EQ(value("'null'"), "null");
  EXPECT_EQ(value("|\n  80\n"), "80\n");
  EXPECT_EQ(value(">-\n  80\n"), "80");
}

TEST(ManifestScalar, tags) {
  EXPECT_EQ(value("!!str 80"), "80");
  EXPECT_EQ(value("!!int \"80\""), 80);
  EXPECT_EQ(value("!!map {a: 1}"), json({{"a", 1}}));
  for (const char* text : {"v: !!int web", "v: !!binary AAAA", "v: !own 1",
                           "v: !!set {a}", "v: !!python/object:os.system x"}) {
    EXPECT_THAT(errors("apiVersion: v1\n" + std::string(text)),
                ElementsAre(HasSubstr("f.yaml:2: unsupported tag")))
        << text;
  }
}

TEST(ManifestScalar, what_json_cannot_say_is_an_error) {
  for (const char* text : {".inf", "-.inf", ".nan"}) {
    EXPECT_THAT(errors("v: " + std::string(text)),
                ElementsAre(HasSubstr("is no JSON value")));
  }
}

// ---- keys
// ------------------------------------------------------------------------------

TEST(ManifestKeys, are_strings_as_kubectl_makes_them) {
  EXPECT_EQ(value("{80: a, yes: b, 'c': d, 010: e, 'on': f, !!str y: g}"),
            json({{"80", "a"},
                  {"true", "b"},
                  {"c", "d"},
                  {"8", "e"},
                  {"on", "f"},
                  {"y", "g"}}));
}

TEST(ManifestKeys, of_duplicates_the_last_one_counts_and_is_noted) {
  EXPECT_EQ(value("{a: 1, b: 2, a: 3}"), json({{"a", 3}, {"b", 2}}));
  EXPECT_THAT(objects("apiVersion: v1\nkind: A\nmetadata:\n  name: a\n"
                      "  name: b\n"),
              ElementsAre("A//b:1"));
  EXPECT_THAT(notes("apiVersion: v1\nkind: A\nmetadata:\n  name: a\n"
                    "  name: b\n"),
              ElementsAre("f.yaml:5: duplicate key \"name\": the last one "
                          "counts"));
}

TEST(ManifestKeys, that_are_no_scalars_are_refused) {
  for (const char* text :
       {"? [a]\n: b\n", "? {a: b}\n: c\n", "~: a\n", "a: &x [1]\n*x : b\n"}) {
    EXPECT_THAT(errors(text), ElementsAre(HasSubstr("a key must"))) << text;
  }
}

// ---- aliases
// -------------------------------------------------------------------------------

TEST(ManifestAliases, repeat_what_they_stand_for) {
  EXPECT_EQ(value("{a: &x {b: 1}, c: *x}"),
            json({{"a", {{"b", 1}}}, {"c", {{"b", 1}}}}));
  EXPECT_EQ(value("{a: &x b, *x : 1}"), json({{"a", "b"}, {"b", 1}}));
}

TEST(ManifestAliases, merge_keys) {
  EXPECT_EQ(value("\n  a: &a {x: 1, w: 1}\n  b: &b {w: 2, z: 2}\n"
                  "  c: {<<: [*a, *b], z: 3}\n")["c"],
            json({{"x", 1}, {"w", 1}, {"z", 3}}));
  // Not what YAML says, but what the cluster gets from kubectl.
  EXPECT_EQ(value("{x: 1, <<: {x: 2}}"), json({{"x", 2}}));
  EXPECT_THAT(notes("apiVersion: v1\nkind: A\nv: {x: 1, <<: {x: 2}}\n"),
              ElementsAre("f.yaml:3: << replaces the key \"x\" before it"));
  EXPECT_THAT(notes("apiVersion: v1\nkind: A\nv: {<<: {x: 2}, x: 1}\n"),
              IsEmpty());
  EXPECT_EQ(value("{<<: &a {x: 1}, b: *a}"),
            json({{"x", 1}, {"b", {{"x", 1}}}}));
  EXPECT_EQ(value("{'<<': 1}"), json({{"<<", 1}}));
  EXPECT_THAT(errors("a: {<<: 1}\n"), ElementsAre(HasSubstr("<< must be")));
}

TEST(ManifestAliases, of_themselves_and_of_nothing_are_refused) {
  EXPECT_THAT(errors("a: &x [*x]\n"), SizeIs(1));
  EXPECT_THAT(errors("a: *nothing\n"), SizeIs(1));
}

TEST(ManifestAliases, that_multiply_are_stopped) {
  std::string text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i <= 12; ++i) {
    const std::string last = "*a" + std::to_string(i - 1);
    text += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + last;
    for (int j = 1; j < 10; ++j) {
      text += ", " + last;
    }
    text += "]\n";
  }
  EXPECT_THAT(errors(text),
              ElementsAre(HasSubstr("aliases make the document too large")));
}

// ---- depth and files
// ---------------------------------------------------------------------------

TEST(ManifestLimits, nesting) {
  for (const std::size_t depth : {200, 100000}) {
    const std::string lists = std::string(depth, '[') + std::string(depth, ']');
    EXPECT_THAT(errors("a: " + lists + "\n"),
                ElementsAre(HasSubstr("nested deeper than 100")));
    EXPECT_THAT(errors("{\"a\": " + lists + "}"),
                ElementsAre(HasSubstr("nested deeper than 100")));
  }
  EXPECT_THAT(
      errors("metadata: {}\nv: " + std::string(90, '[') + std::string(90, ']')),
      ElementsAre(HasSubstr("apiVersion: must be set")));
}

TEST(ManifestFile, is_read_and_named_in_errors) {
  const auto path = std::filesystem::temp_directory_path() /
                    ("sluice-manifest-test-" + std::to_string(getpid()));
  {
    std::ofstream file(path);
    file << pod("a") << "---\nbroken: [\n";
  }
  const auto manifest = read_manifest(path);
  std::filesystem::remove(path);
  ASSERT_TRUE(manifest.has_value()) << manifest.error().message;
  ASSERT_THAT(manifest->objects, SizeIs(1));
  EXPECT_EQ(manifest->objects[0].file, path.string());
  ASSERT_THAT(manifest->errors, SizeIs(1));
  EXPECT_THAT(manifest->errors[0].message, HasSubstr(path.string() + ":"));
}

TEST(ManifestFile, that_cannot_be_read_is_an_error) {
  const auto manifest = read_manifest("/nonexistent/manifest.yaml");
  ASSERT_FALSE(manifest.has_value());
  EXPECT_EQ(manifest.error().code, ENOENT);
  EXPECT_FALSE(read_manifest("/").has_value());
}

}  // namespace
}  // namespace sluice::kube::test
