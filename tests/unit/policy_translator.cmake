sluice_unit_test(policy_translator_test policy_l4_tree_test.cpp policy_translator_test.cpp
                 policy_bound_test.cpp policy_services_test.cpp policy_traffic_test.cpp policy_warnings_test.cpp policy_view_test.cpp policy_nodes_test.cpp LINK sluice_policy)
