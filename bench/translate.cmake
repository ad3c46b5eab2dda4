# The translator with many watched nodes. No root, no kernel.
find_package(benchmark REQUIRED)
add_executable(bench_translate ${CMAKE_CURRENT_LIST_DIR}/translate.cpp)
target_link_libraries(bench_translate PRIVATE sluice_compile sluice_policy benchmark::benchmark)
