// SPDX-License-Identifier: Apache-2.0
//
// A plugin of clang-tidy 19 that keeps it out of the system's headers. Its
// checks walk every declaration of a translation unit, then drop what they
// found outside of the project; with gtest's, spdlog's and nlohmann's headers
// that walk is most of the time. The first check that looks at the whole unit
// narrows the walk to declarations of the project. The static analyzer, which
// follows calls and not declarations, works as before.
#include <utility>
#include <vector>

#include "clang-tidy/ClangTidyCheck.h"
#include "clang-tidy/ClangTidyModule.h"
#include "clang-tidy/ClangTidyModuleRegistry.h"

namespace {

class OwnCode : public clang::tidy::ClangTidyCheck {
 public:
  using ClangTidyCheck::ClangTidyCheck;

  void registerMatchers(clang::ast_matchers::MatchFinder* finder) override {
    finder->addMatcher(clang::ast_matchers::translationUnitDecl().bind("unit"),
                       this);
  }

  // Runs when the walk has reached the unit and before it asks which of its
  // declarations to visit.
  void check(
      const clang::ast_matchers::MatchFinder::MatchResult& result) override {
    const auto* unit =
        result.Nodes.getNodeAs<clang::TranslationUnitDecl>("unit");
    std::vector<clang::Decl*> own;
    for (clang::Decl* declaration : unit->decls()) {
      const clang::SourceLocation location =
          result.SourceManager->getExpansionLoc(declaration->getBeginLoc());
      if (location.isValid() &&
          !result.SourceManager->isInSystemHeader(location)) {
        own.push_back(declaration);
      }
    }
    result.Context->setTraversalScope(std::move(own));
  }
};

class Module : public clang::tidy::ClangTidyModule {
 public:
  void addCheckFactories(
      clang::tidy::ClangTidyCheckFactories& factories) override {
    factories.registerCheck<OwnCode>("sluice-own-code");
  }
};

const clang::tidy::ClangTidyModuleRegistry::Add<Module> kAdded("sluice", "");

}  // namespace
