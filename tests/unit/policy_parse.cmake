find_package(ZLIB REQUIRED)
sluice_unit_test(policy_parse_test
  policy_parse_appendix_test.cpp
  policy_parse_cilium_test.cpp
  policy_parse_cluster_netpol_test.cpp
  policy_parse_errors_test.cpp
  policy_parse_isolation_test.cpp policy_parse_netpol_test.cpp
  policy_parse_names_test.cpp
  policy_parse_vectors_test.cpp
  LINK sluice_policy ZLIB::ZLIB)
target_compile_definitions(policy_parse_test PRIVATE SLUICE_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
