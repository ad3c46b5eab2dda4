sluice_unit_test(scenario_test reference_scenario_test.cpp LINK sluice_scenario ZLIB::ZLIB)
sluice_unit_test(appendix_test reference_appendix_test.cpp differential.cpp
  LINK sluice_policy sluice_reference)
