# Writes OUTPUT, the definition of app/version.h, from VERSION, COMPILER and the git commit of SOURCE_DIR; leaves the
# file alone when nothing changed. Run by the build: app/CMakeLists.txt.
set(commit "")
find_program(GIT git)
if(GIT)
  # No optional locks: a build must not disturb a git command that runs beside it.
  execute_process(COMMAND ${CMAKE_COMMAND} -E env GIT_OPTIONAL_LOCKS=0 ${GIT} describe --always --dirty
                  WORKING_DIRECTORY ${SOURCE_DIR} OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE
                  ERROR_QUIET)
endif()
if(NOT commit MATCHES "^[A-Za-z0-9._+-]+$")
  set(commit unknown)
endif()
file(CONFIGURE OUTPUT ${OUTPUT} @ONLY CONTENT [[
#include "app/version.h"

namespace millrace {

constinit const BuildVersion kBuildVersion{
    .version = "@VERSION@", .commit = "@commit@", .compiler = "@COMPILER@"};

}  // namespace millrace
]])
