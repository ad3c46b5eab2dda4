# Adopting the flows of the kernel's connection tracking. Needs root.
find_package(benchmark REQUIRED)
add_executable(bench_adopt ${CMAKE_CURRENT_LIST_DIR}/adopt.cpp)
target_link_libraries(bench_adopt PRIVATE sluice_compile sluice_agent PkgConfig::libnl benchmark::benchmark)
