# Compiler settings shared by every target, and the helper that makes a module.

find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
  set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE})
endif()

add_library(sluice_compile INTERFACE)
target_include_directories(sluice_compile INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include)
target_compile_options(sluice_compile INTERFACE -Wall -Wextra -Wshadow -Wno-missing-field-initializers)
# gcc 12 reports "text" + std::string as overlapping copies at -O3 (its bug 105651).
target_compile_options(sluice_compile INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>)
if(SLUICE_WERROR)
  target_compile_options(sluice_compile INTERFACE -Werror)
endif()
if(SLUICE_SANITIZE STREQUAL "address")
  target_compile_options(sluice_compile INTERFACE -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
  target_link_options(sluice_compile INTERFACE -fsanitize=address,undefined)
elseif(SLUICE_SANITIZE STREQUAL "thread")
  target_compile_options(sluice_compile INTERFACE -fsanitize=thread)
  target_link_options(sluice_compile INTERFACE -fsanitize=thread)
endif()

# sluice_module(name source... [LINK target...]): a static library of ours.
function(sluice_module name)
  cmake_parse_arguments(arg "" "" "LINK" ${ARGN})
  add_library(${name} STATIC ${arg_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PUBLIC sluice_compile ${arg_LINK})
endfunction()
