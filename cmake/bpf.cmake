# sluice_bpf(target source [compiler]): compiles a BPF object and its libbpf skeleton.
# Gives a target whose include directory has <name>.skel.h. `compiler` instead of SLUICE_BPF_CLANG.

set(SLUICE_BPF_CLANG "" CACHE STRING "clang for BPF; default: the newest of clang-19, clang-14, clang")
if(NOT SLUICE_BPF_CLANG)
  find_program(SLUICE_BPF_CLANG_FOUND NAMES clang-19 clang-14 clang REQUIRED)
  set(SLUICE_BPF_CLANG ${SLUICE_BPF_CLANG_FOUND})
endif()
find_program(BPFTOOL bpftool PATHS /usr/sbin REQUIRED)

function(sluice_bpf target source)
  get_filename_component(name ${source} NAME_WE)
  set(clang ${SLUICE_BPF_CLANG})
  set(folder ${CMAKE_CURRENT_BINARY_DIR})
  if(ARGC GREATER 2)
    set(clang ${ARGV2})
    set(folder ${CMAKE_CURRENT_BINARY_DIR}/${target})
    file(MAKE_DIRECTORY ${folder})
  endif()
  set(object ${folder}/${name}.bpf.o)
  set(skeleton ${folder}/${name}.skel.h)
  file(GLOB headers CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.bpf.h
       ${PROJECT_SOURCE_DIR}/bpf/*.bpf.h)
  add_custom_command(
    OUTPUT ${object}
    COMMAND ${clang} -g -O2 -mcpu=v3 -target bpf -Wall -Wextra -Werror
            -I${PROJECT_SOURCE_DIR}/include -I/usr/include/${CMAKE_LIBRARY_ARCHITECTURE}
            -c ${CMAKE_CURRENT_SOURCE_DIR}/${source} -o ${object}
    DEPENDS ${source} ${headers} ${PROJECT_SOURCE_DIR}/include/sluice/abi.h
    VERBATIM)
  add_custom_command(
    OUTPUT ${skeleton}
    COMMAND ${BPFTOOL} gen skeleton ${object} name ${name}_bpf > ${skeleton}.tmp
    COMMAND ${CMAKE_COMMAND} -E rename ${skeleton}.tmp ${skeleton}
    DEPENDS ${object}
    VERBATIM)
  add_custom_target(${target}_generate DEPENDS ${skeleton})
  add_library(${target} INTERFACE)
  add_dependencies(${target} ${target}_generate)
  target_include_directories(${target} INTERFACE ${folder})
endfunction()
