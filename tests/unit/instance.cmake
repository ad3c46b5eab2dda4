# With the other end of the socket.
sluice_unit_test(instance_test instance_names_test.cpp instance_server_test.cpp LINK sluice_cli)
