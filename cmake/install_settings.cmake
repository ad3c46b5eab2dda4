# SPDX-License-Identifier: Apache-2.0
# Part of the installation. `source` is the source folder, `shared` that with what the programs have made. Under /usr,
# settings are in /etc and Debian has places of its own; under any other prefix, all is below the prefix.
set(settings "${CMAKE_INSTALL_PREFIX}/etc")
set(zsh "${CMAKE_INSTALL_PREFIX}/share/zsh/site-functions")
set(units "${CMAKE_INSTALL_PREFIX}/lib/systemd/system")
if(CMAKE_INSTALL_PREFIX STREQUAL "/usr")
  set(settings /etc)
  if(EXISTS /etc/debian_version)
    set(zsh /usr/share/zsh/vendor-completions)
    set(units /lib/systemd/system)
    file(INSTALL "${source}/deploy/debian/lintian-overrides" DESTINATION /usr/share/lintian/overrides RENAME sluice)
    file(INSTALL "${shared}/../copyright" "${shared}/changelog.gz" DESTINATION /usr/share/doc/sluice)
  endif()
endif()
file(INSTALL "${shared}/completions/_sluice" DESTINATION "${zsh}")

file(READ "${source}/deploy/systemd/sluice.service" unit)
string(REPLACE "/usr/bin/sluice" "${CMAKE_INSTALL_PREFIX}/bin/sluice" unit "${unit}")
string(REPLACE "/etc/default/sluice" "${settings}/default/sluice" unit "${unit}")
file(WRITE "${shared}/sluice.service" "${unit}")
file(INSTALL "${shared}/sluice.service" DESTINATION "${units}")

file(READ "${source}/deploy/systemd/sluice.default" default)
string(REPLACE "/etc/sluice" "${settings}/sluice" default "${default}")
file(WRITE "${shared}/default/sluice" "${default}")
# What the administrator has changed stays.
if(NOT EXISTS "$ENV{DESTDIR}${settings}/default/sluice")
  file(INSTALL "${shared}/default/sluice" DESTINATION "${settings}/default")
endif()
file(MAKE_DIRECTORY "$ENV{DESTDIR}${settings}/sluice/manifests")
