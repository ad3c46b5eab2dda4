sluice_unit_test(operator_test operator_store_test.cpp operator_manifest_dir_test.cpp
                 LINK sluice_operator)
