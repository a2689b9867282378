# Compiler, warnings, sanitizers, and the tools that only speed a build up.
if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  message(FATAL_ERROR "Millrace is built with clang 19 (GCC 12 miscompiles coroutines: docs/adr/0001-compiler.md), found "
                      "${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}. Use a preset: cmake --preset release")
endif()

# The cache is shared by all build directories and checkouts: paths below the checkout are made relative before hashing.
find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER /usr/bin/env CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1 ${CCACHE})
endif()
find_program(LLD NAMES ld.lld-19 ld.lld)
if(LLD)
  add_link_options(-fuse-ld=lld)
endif()

add_compile_options(-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wnon-virtual-dtor -Wold-style-cast -Werror
                    -fno-omit-frame-pointer -fstack-protector-strong)
add_compile_definitions(_FILE_OFFSET_BITS=64)
add_link_options(-Wl,-z,relro,-z,now)
include_directories(${CMAKE_SOURCE_DIR})

# Compile and link flags of everything but the launcher, which replaces its own address space and knows no sanitizer.
set(MILLRACE_SANITIZE_FLAGS "")
if(MILLRACE_SANITIZE)
  list(APPEND MILLRACE_SANITIZE_FLAGS -fsanitize=${MILLRACE_SANITIZE} -fno-sanitize-recover=all)
endif()
if(MILLRACE_FUZZ)
  list(APPEND MILLRACE_SANITIZE_FLAGS -fsanitize=fuzzer-no-link)
endif()
