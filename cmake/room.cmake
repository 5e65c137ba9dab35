# liveweight_room(NAME [ROOMS ...] [LIBRARIES ...]): the static library lw_NAME of all *.cc beside the caller, and the
# test lw_NAME_test of all *_test.cc there. ROOMS are the rooms that it includes; LIBRARIES are third parties.
set(LIVEWEIGHT_ROOMS "" CACHE INTERNAL "")

function(liveweight_room name)
  cmake_parse_arguments(arg "" "" "ROOMS;LIBRARIES" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS *.cc)
  file(GLOB tests CONFIGURE_DEPENDS *_test.cc)
  list(REMOVE_ITEM sources ${tests} "")
  add_library(lw_${name} STATIC ${sources})
  target_include_directories(lw_${name} PUBLIC ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src)
  # Whoever links the room is built without contraction too, as one copy of an inline function may serve all of them.
  target_compile_options(lw_${name} PRIVATE -Wall -Wextra -Wpedantic -Wno-psabi PUBLIC -ffp-contract=off)
  list(TRANSFORM arg_ROOMS PREPEND lw_)
  target_link_libraries(lw_${name} PUBLIC ${arg_ROOMS} ${arg_LIBRARIES})
  set(LIVEWEIGHT_ROOMS ${LIVEWEIGHT_ROOMS} lw_${name} CACHE INTERNAL "")
  if(LIVEWEIGHT_TESTS AND tests)
    liveweight_test(lw_${name}_test SOURCES ${tests} LIBRARIES lw_${name})
  endif()
endfunction()

# liveweight_test(NAME SOURCES ... LIBRARIES ...): a GoogleTest program, each of whose tests is one of ctest's.
function(liveweight_test name)
  cmake_parse_arguments(arg "" "" "SOURCES;LIBRARIES" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_compile_options(${name} PRIVATE -Wall -Wextra -Wno-psabi)
  target_compile_definitions(${name} PRIVATE LIVEWEIGHT_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  target_link_libraries(${name} PRIVATE ${arg_LIBRARIES} GTest::gmock GTest::gtest_main)
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60)
endfunction()
