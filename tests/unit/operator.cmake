sluice_unit_test(operator_test operator_announced_pods_test.cpp operator_cluster_store_test.cpp operator_enforcement_test.cpp
                 operator_store_test.cpp operator_manifest_dir_test.cpp
                 LINK sluice_operator)
sluice_unit_test(operator_program_test operator_policy_status_test.cpp
                 LINK sluice_operator_program_core nlohmann_json::nlohmann_json)
