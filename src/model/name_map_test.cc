#include <gtest/gtest.h>

#include "liveweight/model.h"

namespace liveweight {
namespace {

TEST(NameMapTest, WrappersGoWhereverTheyStand) {
  const std::pair<const char*, const char*> kNames[] = {
      {"model.layers.0.q.weight", "model.layers.0.q.weight"},
      {"module.model.norm.weight", "model.norm.weight"},
      {"actor.module._orig_mod.model.norm.weight", "model.norm.weight"},
      {"_fsdp_wrapped_module.model.layers.0._fsdp_wrapped_module.q.weight", "model.layers.0.q.weight"},
      {"my_module.weight", "my_module.weight"},
      {"module", "module"},
      {"", ""}};
  for (const auto& [name, expected] : kNames) {
    EXPECT_EQ(NameMap().canonical(name).value(), expected);
    std::string storage;
    const std::string_view mapped = NameMap().canonical(name, storage).value();
    EXPECT_EQ(mapped, expected);
    EXPECT_EQ(mapped.data() == std::string_view(name).data(), mapped == name)
        << "a copy where nothing changes";
  }
}

TEST(NameMapTest, RulesApplyInOrderBeforeWrappersGo) {
  const auto map =
      NameMap::parse(R"json([["^transformer\\.", "module.model."], ["h\\.(\\d+)", "layers.$1"]])json");
  ASSERT_TRUE(map) << map.error().message;
  EXPECT_EQ(map->canonical("transformer.h.12.q.weight").value(), "model.layers.12.q.weight");
}

TEST(NameMapTest, WhatIsNoListOfRulesIsRefused) {
  for (const char* text :
       {"", "{}", "[1]", "[[]]", R"([["a"]])", R"([["a","b","c"]])", R"([[1,"b"]])", R"([["a",null]])"}) {
    EXPECT_FALSE(NameMap::parse(text)) << text;
  }
  for (const char* text : {R"json([["(","b"]])json", R"([["[","b"]])", R"([["*","b"]])"}) {
    const auto map = NameMap::parse(text);
    ASSERT_FALSE(map) << text;
    EXPECT_NE(map.error().message.find("[0]"), std::string::npos) << map.error().message;
  }
}

}  // namespace
}  // namespace liveweight
