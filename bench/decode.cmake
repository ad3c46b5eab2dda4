# A made-up cluster as its API server tells it, for the benchmarks that need one.
add_library(sluice_bench_cluster STATIC ${CMAKE_CURRENT_LIST_DIR}/made_cluster.cpp)
target_link_libraries(sluice_bench_cluster PRIVATE sluice_compile)
# Watch events of pods to structs, on one core. No root, no kernel.
find_package(benchmark REQUIRED)
add_executable(bench_decode ${CMAKE_CURRENT_LIST_DIR}/decode.cpp)
target_link_libraries(bench_decode PRIVATE sluice_compile sluice_bench_cluster sluice_kube_api
  nlohmann_json::nlohmann_json benchmark::benchmark)
