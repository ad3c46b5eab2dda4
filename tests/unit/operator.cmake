sluice_unit_test(operator_test operator_cluster_store_test.cpp operator_enforcement_test.cpp
                 operator_store_test.cpp operator_manifest_dir_test.cpp
                 LINK sluice_operator)
