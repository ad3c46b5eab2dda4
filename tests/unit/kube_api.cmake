find_package(OpenSSL REQUIRED)
sluice_unit_test(kube_api_test
  kube_api_client_test.cpp kube_api_config_test.cpp kube_api_decoder_test.cpp
  kube_api_requests_test.cpp kube_api_server.cpp kube_api_loop_test.cpp
  kube_reflector_hostile_test.cpp kube_reflector_kinds_test.cpp
  kube_reflector_test.cpp kube_reflector_world.cpp
  LINK sluice_kube_api OpenSSL::SSL ZLIB::ZLIB Threads::Threads)
