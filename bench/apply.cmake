# Transactions against the kernel's maps. Needs root.
find_package(benchmark REQUIRED)
add_executable(bench_apply ${CMAKE_CURRENT_LIST_DIR}/apply.cpp)
target_link_libraries(bench_apply PRIVATE sluice_compile sluice_agent benchmark::benchmark)
