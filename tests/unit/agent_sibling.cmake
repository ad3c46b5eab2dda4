sluice_unit_test(agent_sibling_test agent_sibling_test.cpp ${PROJECT_SOURCE_DIR}/agent/program/sibling.cpp LINK sluice_base)
