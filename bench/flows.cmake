# The operator's part of reading flows of many nodes, on one core. No root, no kernel.
find_package(benchmark REQUIRED)
add_executable(bench_flows ${CMAKE_CURRENT_LIST_DIR}/flows.cpp)
target_link_libraries(bench_flows PRIVATE sluice_flow sluice_compile benchmark::benchmark)
