sluice_unit_test(agent_apply_test agent_apply_test.cpp agent_left_out_test.cpp agent_world.cpp LINK sluice_agent)
sluice_unit_test(agent_own_peers_test agent_own_peers_test.cpp LINK sluice_agent)
# Loads BPF: needs root.
sluice_unit_test(agent_kernel_test agent_kernel_test.cpp agent_world.cpp LINK sluice_agent)
sluice_unit_test(agent_pins_test agent_pins_test.cpp LINK sluice_agent)
sluice_unit_test(agent_target_test agent_target_test.cpp ${PROJECT_SOURCE_DIR}/agent/program/target.cpp LINK sluice_base)
