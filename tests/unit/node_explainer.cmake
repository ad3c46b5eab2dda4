sluice_unit_test(node_explainer_test node_explainer_test.cpp
  ${PROJECT_SOURCE_DIR}/agent/program/node_explainer.cpp LINK sluice_cli)
