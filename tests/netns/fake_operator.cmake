# What agent_lab.py has instead of an operator.
if(TARGET sluice_wire)
  add_executable(fake_operator ${CMAKE_CURRENT_LIST_DIR}/fake_operator.cpp)
  target_link_libraries(fake_operator PRIVATE sluice_compile sluice_cli sluice_wire)
  if(TARGET netns_agent_program)
    set_tests_properties(netns_agent_program PROPERTIES REQUIRED_FILES
      "$<TARGET_FILE:fake_operator>;$<TARGET_FILE:sluice_agent_program>")
  endif()
endif()
