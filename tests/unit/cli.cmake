sluice_unit_test(cli_test cli_output_test.cpp cli_cluster_test.cpp LINK sluice_cli)
