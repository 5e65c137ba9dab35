# Sanitizers and coverage: flags for the whole build, chosen by the presets.
if(LIVEWEIGHT_SANITIZE)
  add_compile_options(-fsanitize=${LIVEWEIGHT_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${LIVEWEIGHT_SANITIZE})
endif()
if(LIVEWEIGHT_COVERAGE)
  add_compile_options(--coverage)
  add_link_options(--coverage)
endif()
