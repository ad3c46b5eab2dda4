# Names matched against patterns, on one core. No root, no kernel.
find_package(benchmark REQUIRED)
add_executable(bench_names ${CMAKE_CURRENT_LIST_DIR}/names.cpp)
target_link_libraries(bench_names PRIVATE sluice_compile sluice_dns benchmark::benchmark)
