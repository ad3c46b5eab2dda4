# An operator in a large cluster, by processes over loopback. No root, no kernel.
find_package(OpenSSL REQUIRED)
file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/distribution/*.cpp)
add_executable(bench_distribution ${sources} ${CMAKE_SOURCE_DIR}/tests/unit/kube/api/server.cpp)
target_link_libraries(bench_distribution PRIVATE sluice_compile sluice_bench_cluster sluice_kube_api
  sluice_operator_program_core sluice_wire spdlog::spdlog nlohmann_json::nlohmann_json CLI11::CLI11 OpenSSL::SSL ZLIB::ZLIB Threads::Threads)
