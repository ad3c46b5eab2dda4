# What `cmake --install` and the Debian package install: programs, manual pages, completions, the systemd unit with its
# settings, documents and licences. Honours the prefix and DESTDIR.
include(GNUInstallDirs)

# ---- manual pages and completions, made by the programs ----
set(shared ${CMAKE_CURRENT_BINARY_DIR}/installed)
set(programs sluice sluice_agent_program sluice_operator_program)
set(write_pages)
foreach(program ${programs})
  list(APPEND write_pages COMMAND ${program} --man-pages ${shared}/man)
endforeach()
add_custom_command(
  OUTPUT ${shared}/stamp
  COMMAND ${CMAKE_COMMAND} -E rm -rf ${shared}
  COMMAND ${CMAKE_COMMAND} -E make_directory ${shared}/man ${shared}/completions
  ${write_pages}
  COMMAND ${CMAKE_COMMAND} -E copy ${PROJECT_SOURCE_DIR}/cni/sluice-cni.8 ${shared}/man
  COMMAND gzip -9n -r ${shared}/man
  COMMAND gzip -9nc ${PROJECT_SOURCE_DIR}/deploy/debian/changelog > ${shared}/changelog.gz
  COMMAND sluice completion bash > ${shared}/completions/sluice
  COMMAND sluice completion zsh > ${shared}/completions/_sluice
  COMMAND sluice completion fish > ${shared}/completions/sluice.fish
  COMMAND ${CMAKE_COMMAND} -E touch ${shared}/stamp
  DEPENDS ${programs} ${PROJECT_SOURCE_DIR}/cni/sluice-cni.8 ${PROJECT_SOURCE_DIR}/deploy/debian/changelog
  VERBATIM)
add_custom_target(sluice_installed ALL DEPENDS ${shared}/stamp)

# ---- files ----
# Beside each other, where the agent looks for the plugin that it copies to its node.
install(TARGETS ${programs} sluice_cni RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
# `kubectl sluice` is this program; see cli/operator_options.h.
file(CREATE_LINK sluice ${CMAKE_CURRENT_BINARY_DIR}/kubectl-sluice SYMBOLIC)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/kubectl-sluice DESTINATION ${CMAKE_INSTALL_BINDIR})
file(CREATE_LINK sluice.1.gz ${CMAKE_CURRENT_BINARY_DIR}/kubectl-sluice.1.gz SYMBOLIC)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/kubectl-sluice.1.gz DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
foreach(section 1 8)
  install(DIRECTORY ${shared}/man/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section} FILES_MATCHING PATTERN "*.${section}.gz")
endforeach()
install(FILES ${shared}/completions/sluice DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(FILES ${shared}/completions/sluice.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
install(FILES README.md LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY docs LICENSES DESTINATION ${CMAKE_INSTALL_DOCDIR})
# Those whose place or content depends on the prefix.
install(CODE "set(source \"${PROJECT_SOURCE_DIR}\")\nset(shared \"${shared}\")")
install(SCRIPT cmake/install_settings.cmake)

# ---- Debian package: cpack -G DEB, in the build folder, after the build ----
set(CMAKE_SKIP_INSTALL_ALL_DEPENDENCY ON)
file(READ LICENSES/BSD-2-Clause.txt bsd_2_clause)
string(REGEX REPLACE "\n+$" "" bsd_2_clause "${bsd_2_clause}")
string(REPLACE "\n\n" "\n.\n" bsd_2_clause "${bsd_2_clause}")
string(REPLACE "\n" "\n " bsd_2_clause " ${bsd_2_clause}")
configure_file(deploy/debian/copyright.in ${CMAKE_CURRENT_BINARY_DIR}/copyright @ONLY)
set(SLUICE_MAINTAINER "Sluice maintainers <maintainers@sluice.example>" CACHE STRING "Who is named in packages")
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME sluice)
set(CPACK_PACKAGE_CONTACT "${SLUICE_MAINTAINER}")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "network policy for Kubernetes with eBPF")
set(CPACK_PACKAGE_DESCRIPTION
"Enforces NetworkPolicy, CiliumNetworkPolicy, CiliumClusterwideNetworkPolicy
and ClusterNetworkPolicy objects with eBPF, beside a CNI plugin that gives
each pod a veth. The command sluice enforces the manifests of a folder on one
host, tests policies, and explains verdicts; sluice-operator and sluice-agent
enforce the policies of a cluster.")
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_SET_DESTDIR ON)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${PROJECT_SOURCE_DIR}/deploy/debian/postinst
    ${PROJECT_SOURCE_DIR}/deploy/debian/prerm ${PROJECT_SOURCE_DIR}/deploy/debian/postrm
    ${PROJECT_SOURCE_DIR}/deploy/debian/conffiles)
include(CPack)
