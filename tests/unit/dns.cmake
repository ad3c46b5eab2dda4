sluice_unit_test(dns_test dns_matcher_test.cpp dns_message_test.cpp dns_name_test.cpp dns_packet.cpp dns_pattern_test.cpp
  LINK sluice_dns PkgConfig::openssl)
