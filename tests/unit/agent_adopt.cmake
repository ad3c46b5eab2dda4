sluice_unit_test(agent_adopt_test agent_adopt_test.cpp agent_adopt_flow_test.cpp LINK sluice_agent PkgConfig::libnl)
