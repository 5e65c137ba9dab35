# The installed package: one static library of all rooms, the public headers, the binary, and
# find_package(liveweight), which gives the target liveweight::liveweight.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(objects "")
foreach(room base tensor quantize checkpoint model live infer text)
  list(APPEND objects $<TARGET_OBJECTS:lw_${room}>)
endforeach()
add_library(liveweight STATIC ${objects})
set_target_properties(liveweight PROPERTIES LINKER_LANGUAGE CXX)
target_compile_features(liveweight INTERFACE cxx_std_20)
target_include_directories(liveweight INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
                                                $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
# Headers of the private ones are needed to build, their libraries also to link.
target_link_libraries(liveweight PUBLIC tl::expected PRIVATE fmt::fmt Threads::Threads PkgConfig::xxhash PkgConfig::zstd ZLIB::ZLIB
                                        PkgConfig::onig PkgConfig::utf8proc simdjson::simdjson hwy::hwy)
add_library(liveweight::liveweight ALIAS liveweight)

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/liveweight)
install(TARGETS liveweight EXPORT liveweight)
install(DIRECTORY include/liveweight DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT liveweight NAMESPACE liveweight:: FILE liveweight-targets.cmake DESTINATION ${package})
configure_package_config_file(cmake/liveweight-config.cmake.in ${CMAKE_BINARY_DIR}/liveweight-config.cmake
                              INSTALL_DESTINATION ${package})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/liveweight-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/liveweight-config.cmake ${CMAKE_BINARY_DIR}/liveweight-config-version.cmake
        DESTINATION ${package})
