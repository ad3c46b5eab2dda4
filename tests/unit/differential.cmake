# Folders are added in order; the reference evaluator comes before unit tests.
sluice_unit_test(differential_test differential_test.cpp differential.cpp
  LINK sluice_policy sluice_reference)
set_tests_properties(differential_test PROPERTIES TIMEOUT 300)
