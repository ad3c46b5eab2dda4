sluice_unit_test(wire_test
  wire_announcement_test.cpp wire_backlog_test.cpp wire_codec_test.cpp wire_hostile_test.cpp wire_journal_test.cpp wire_question_test.cpp
  wire_replication_test.cpp wire_stream_test.cpp wire_tls_test.cpp wire_world.cpp
  LINK sluice_wire sluice_wire_proto)
