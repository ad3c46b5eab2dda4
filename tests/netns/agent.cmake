# The agent with real veths and packets, in namespaces of its own. Needs root.
find_package(GTest REQUIRED)
add_executable(agent_netns_test
  ${CMAKE_CURRENT_LIST_DIR}/agent_test.cpp ${CMAKE_CURRENT_LIST_DIR}/agent_packets_test.cpp
  ${CMAKE_CURRENT_LIST_DIR}/agent_attach_test.cpp
  ${CMAKE_CURRENT_LIST_DIR}/agent_net.cpp ${CMAKE_CURRENT_LIST_DIR}/agent_fixture.cpp
  ${PROJECT_SOURCE_DIR}/cli/packet.cpp)
target_link_libraries(agent_netns_test PRIVATE sluice_compile sluice_agent
  GTest::gtest GTest::gtest_main)
add_test(NAME netns_agent COMMAND agent_netns_test)
set_tests_properties(netns_agent PROPERTIES LABELS netns RUN_SERIAL ON TIMEOUT 300)
